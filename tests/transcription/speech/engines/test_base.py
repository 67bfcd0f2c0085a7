"""The rule that all engines share, and that each implements the interface that it is used by."""

from __future__ import annotations

from importlib import import_module

import pytest

from transcription.speech.engines import base
from transcription.speech.errors import UnknownLanguage
from transcription.speech.registry import ENGINES


@pytest.mark.parametrize(
    ("language", "languages"),
    [("en", frozenset({"en", "es"})), (None, frozenset({"en"})), ("tlh", None), (None, None)],
)
def test_known_or_detected_language_is_accepted(language, languages):
    base.check_language(language, languages=languages, engine="test")


@pytest.mark.parametrize("language", ["fr", "EN", ""])
def test_other_language_is_refused_with_those_that_work(language):
    with pytest.raises(UnknownLanguage) as caught:
        base.check_language(language, languages=frozenset({"es", "en"}), engine="test")
    assert caught.value.data == {"param": "language", "languages": ["en", "es"]}
    assert "this engine (test) knows en, es" in caught.value.message


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_the_methods_of_its_interface(name):
    module, _, class_name = ENGINES[name].partition(":")
    engine = getattr(import_module(module), class_name)
    assert callable(engine.recognise)
    batch_methods = ("prepare", "bucket", "recognise_batch")
    # Half of the interface would be taken for none, and the engine for one without batches.
    assert len({hasattr(engine, method) for method in batch_methods}) == 1


def test_engine_without_batches_is_told_from_one_with(fake_engine):
    class NoBatches:
        name, languages, notes, supported_options = "test", None, (), frozenset[str]()
        max_clip_ms, pause_ms, packed_ms = 30_000, 600, 0

    assert isinstance(fake_engine, base.BatchEngine)
    assert not isinstance(fake_engine, base.StreamingEngine)
    assert not isinstance(NoBatches(), base.BatchEngine)
