from __future__ import annotations

import pytest

from transcription.speech import errors, registry


def test_unknown_names_are_refused():
    with pytest.raises(errors.UnknownEngine):
        registry.load_engine("whistle")
    with pytest.raises(errors.UnknownDiarizer):
        registry.load_diarizer("whistle")


@pytest.mark.parametrize("name", sorted(registry.DIARIZERS))
def test_every_registered_diarizer_loads(name):
    assert registry.load_diarizer(name).name == name


@pytest.mark.long
def test_every_registered_engine_loads(whisper_folder):
    given = {"faster_whisper": {"model": str(whisper_folder), "name": "tiny", "device": "cpu"}, "pocketsphinx": {}}
    assert set(given) == set(registry.ENGINES)
    names = {name: registry.load_engine(name, **settings).name for name, settings in given.items()}
    assert names == {"faster_whisper": "faster-whisper/tiny", "pocketsphinx": "pocketsphinx"}
