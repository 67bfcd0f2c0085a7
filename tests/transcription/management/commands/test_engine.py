from __future__ import annotations

import pytest

from transcription import recognition
from transcription.management.commands import engine as command
from transcription.speech.engines import models
from transcription.speech.errors import EngineUnavailable


@pytest.fixture
def auto(settings, tmp_path):
    settings.ENGINE = "auto"
    settings.ENGINE_CHOICE_FILE = tmp_path / "engine.json"
    return settings


def test_auto_takes_a_model_that_is_there(auto, tmp_path):
    (tmp_path / "model.bin").touch()
    auto.WHISPER_MODELS = {"standard": str(tmp_path), "premium": str(tmp_path)}
    assert command.chosen_engine() == "faster_whisper"
    assert not recognition.is_fallback()


@pytest.mark.parametrize("answers", [True, False])
def test_auto_says_loudly_that_it_falls_back(auto, answers, monkeypatch, caplog):
    """The hub does not answer, or fails during the download."""

    def broken(source):
        raise EngineUnavailable("The model could not be downloaded.")

    auto.WHISPER_MODELS = {"standard": "nobody/knows-this", "premium": "nobody/knows-this"}
    monkeypatch.setattr(models, "is_local", lambda source: False)
    monkeypatch.setattr(models, "is_on_hub", lambda source: answers)
    monkeypatch.setattr(models, "folder_of", broken)
    assert command.chosen_engine() == "pocketsphinx"
    assert "VOXSITE_WHISPER_STANDARD" in caplog.text
    assert recognition.is_fallback()
