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


@pytest.mark.parametrize("name", sorted(registry.ENGINES))
def test_every_registered_engine_loads(name):
    assert registry.load_engine(name).name == name
