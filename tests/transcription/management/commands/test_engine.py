from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from tests.fixtures import package_index, tiny_whisper
from transcription import recognition
from transcription.management.commands import engine as command
from transcription.speech.engines import curve
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.errors import EngineUnavailable


@pytest.fixture
def auto(settings, tmp_path, monkeypatch):
    settings.ENGINE = "auto"
    settings.ENGINE_CHOICE_FILE = tmp_path / "engine.json"
    settings.MODELS_DIR = tmp_path / "models"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return settings


@pytest.mark.long
def test_auto_takes_a_model_that_is_there(auto, tmp_path):
    folder = str(tiny_whisper.build(tmp_path))
    auto.WHISPER_MODELS = {"standard": folder, "premium": folder}
    models = command.make_model_cache("auto", device="cpu")
    # The process serves from now on, and jobs wait until the model is loaded.
    assert not recognition.choice().is_final
    assert not recognition.is_fallback()
    assert recognition.waiting_note() == "The speech model is being loaded. Recordings wait for it."
    assert models.get("standard").name == "faster-whisper/tiny"
    assert recognition.choice() == Choice(WHISPER)
    assert recognition.waiting_note() == ""


@pytest.mark.long
@pytest.mark.enable_socket
@pytest.mark.parametrize("may_use_packages", [True, False])
def test_auto_says_loudly_that_it_falls_back(auto, monkeypatch, caplog, may_use_packages):
    with package_index.serving({}) as gone:
        package_index.use(gone, monkeypatch)
    auto.MODEL_PACKAGES = may_use_packages
    auto.WHISPER_MODELS = {"standard": "nobody/knows-this", "premium": "nobody/knows-this"}
    assert command.make_model_cache("auto", device="cpu").get("standard").name == LAST_RESORT
    (warning,) = [record.getMessage() for record in caplog.records if record.name == command.__name__]
    assert "PocketSphinx, for development only" in warning
    assert "VOXSITE_WHISPER_STANDARD" in warning
    assert ("package index" in warning) == may_use_packages
    assert recognition.is_fallback()


def test_each_process_listens_at_a_port_of_its_own_and_none_without_keys(settings):
    assert command.listener(number=1) is None
    settings.ENGINE_LISTEN = "tcp://0.0.0.0:5590"
    with pytest.raises(EngineUnavailable, match="secret key"):
        command.listener(number=1)
    engine, client = curve.make(), curve.make()
    settings.ENGINE_SECRET_KEY, settings.ENGINE_CLIENTS = engine.secret, [client.public]
    assert command.listener(number=1).address == "tcp://0.0.0.0:5590"
    assert command.listener(number=3).address == "tcp://0.0.0.0:5592"


def test_engine_that_would_listen_without_keys_does_not_start(settings, monkeypatch):
    settings.ENGINE, settings.ENGINE_LISTEN = "pocketsphinx", "tcp://127.0.0.1:5590"
    with pytest.raises(CommandError, match="secret key"):
        call_command("engine", skip_checks=True)
