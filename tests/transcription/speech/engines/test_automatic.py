"""What "auto" finds, in which order: the tiny Whisper from a folder, a hub or an index, else PocketSphinx."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures import model_hub, package_index
from tests.fixtures.package_index import Index
from transcription.speech.engines import models
from transcription.speech.engines.automatic import AutomaticLoader
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.engines.package_contents import PackagedModel
from transcription.speech.errors import EngineUnavailable

pytestmark = pytest.mark.enable_socket

# A name that no hub knows, like "base" otherwise.
NAME = "voxsite-test"


@pytest.fixture(scope="module")
def made(whisper_folder: Path) -> tuple[PackagedModel, dict[str, bytes]]:
    return package_index.packaged(whisper_folder, name=NAME)


@pytest.fixture
def index(made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with package_index.serving(made[1]) as index:
        package_index.use(index, monkeypatch)
        yield index


@pytest.fixture
def told() -> list[Choice]:
    return []


@pytest.fixture
def loader(made, told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AutomaticLoader]:
    """Return a maker of loaders that reach no hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def make(*, models_dir: Path | None = tmp_path) -> AutomaticLoader:
        return AutomaticLoader(models_dir=models_dir, tell=told.append, device="cpu", packaged=made[0])

    return make


def test_folder_comes_first(loader, whisper_folder, told, index):
    assert loader().load(str(whisper_folder)).name == "faster-whisper/tiny"
    assert [(choice.engine, choice.is_final) for choice in told] == [(WHISPER, False), (WHISPER, True)]
    assert not index.downloads


@pytest.mark.slow
def test_packages_come_when_there_is_no_hub_and_are_kept(loader, told, index, tmp_path):
    assert loader().load(NAME).name == f"faster-whisper/{NAME}"
    coming = [choice for choice in told if choice.is_download]
    assert coming
    assert all(choice.received_bytes <= choice.total_bytes for choice in coming)
    assert told[-1] == Choice(WHISPER)
    told.clear()
    index.wheels.clear()
    again = loader()
    assert again.load(NAME).name == f"faster-whisper/{NAME}"
    assert not [choice for choice in told if choice.is_download]
    assert again.megabytes(NAME, compute_type="int8") > 0


def test_hub_is_asked_before_the_index(made, told, index, tmp_path, whisper_folder, monkeypatch):
    name = "somebody/tiny"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # The client of the hub reads its settings on import, so it is told where to put the files.
    monkeypatch.setattr(models, "download_model", lambda source, **_: str(whisper_folder))
    monkeypatch.setattr(models, "is_local", lambda source: False)
    with model_hub.serving(whisper_folder, name=name) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        loader = AutomaticLoader(models_dir=tmp_path, tell=told.append, device="cpu", packaged=made[0])
        assert loader.load(name).name == "faster-whisper/tiny"
    assert not index.downloads


@pytest.mark.slow
def test_packaged_model_stands_in_and_says_so(loader, told, index, caplog):
    engine = loader().load("/nowhere/large")
    assert engine.name == f"faster-whisper/{NAME}"
    assert told[-1].labels == {"/nowhere/large": NAME}
    assert f"Whisper {NAME} stands in for it" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("may_use_packages", [True, False])
def test_last_resort_says_why(loader, told, tmp_path, monkeypatch, may_use_packages):
    with package_index.serving({}) as gone:
        package_index.use(gone, monkeypatch)
    one = loader(models_dir=tmp_path if may_use_packages else None)
    assert one.load(NAME).name == LAST_RESORT
    assert (told[-1].engine, told[-1].is_final) == (LAST_RESORT, True)
    assert f"The Whisper model {NAME} is not on this machine" in told[-1].reason
    assert ("package index" in told[-1].reason) == may_use_packages
    # One engine for all models: the others do not wait for an index that is not there.
    assert one.load("somebody/else").name == LAST_RESORT


def test_model_that_does_not_load_is_no_reason_to_stand_still(loader, told, whisper_folder, tmp_path):
    broken = shutil.copytree(whisper_folder, tmp_path / "broken")
    (broken / "model.bin").write_bytes(b"cut off")
    assert loader().load(str(broken)).name == LAST_RESORT
    assert "could not be loaded" in told[-1].reason


def test_second_model_that_is_missing_changes_nothing(loader, told, whisper_folder):
    one = loader(models_dir=None)
    one.load(str(whisper_folder))
    with pytest.raises(EngineUnavailable, match="somebody/else is not on this machine"):
        one.load("somebody/else")
    assert told[-1] == Choice(WHISPER)


def test_choice_survives_its_file():
    choice = Choice(WHISPER, is_final=False, received_bytes=1, total_bytes=2, labels={"a": "b"}, reason="why")
    assert Choice.from_json(choice.to_json()) == choice
    assert choice.is_download
    assert not dataclasses.replace(choice, is_final=True).is_download


@pytest.mark.parametrize("text", ["", "[]", '{"engine": "whistle"}', '{"engine": "pocketsphinx", "more": 1}'])
def test_broken_file_is_no_choice(text):
    with pytest.raises(ValueError):
        Choice.from_json(text)
