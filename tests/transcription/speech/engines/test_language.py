from __future__ import annotations

import numpy as np
import pytest

from tests.transcription.speech.fakes import FakeEngine
from transcription.speech.engines import language
from transcription.speech.engines.base import Recognition, StreamedClip
from transcription.speech.engines.language import LanguageChoice
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE
from transcription.speech.transcript import Word

WORDS = (Word("word", 0, 100, 0.5),)
EN, ES, DE = ("en", 0.99), ("es", 0.99), ("de", 0.99)


def decide(*clips, **options):
    """Return the language of each clip that has a verdict. Clips are (language, probability), None without words."""
    choice = LanguageChoice(TranscriptionOptions(**options))
    verdicts = []
    for number, clip in enumerate(clips):
        recognition = Recognition(()) if clip is None else Recognition(WORDS, *clip)
        verdicts += choice.add(recognition, number=number, length_ms=20_000)
    assert [one.number for one in verdicts] == list(range(len(verdicts)))
    return [one.language for one in verdicts], [one.language for one in choice.finish()]


def test_one_clip_does_not_decide():
    assert decide(EN, EN) == ([], ["en", "en"])
    assert decide(EN, EN, EN) == (["en"] * 3, [])


def test_language_is_that_of_most_speech_and_not_of_the_first_clip():
    """36 s of English before 132 s of Spanish."""
    assert decide(EN, EN, ES, ES, ES, ES, ES) == (["es"] * 7, [])


def test_long_clips_weigh_more_than_short_ones():
    choice = LanguageChoice(TranscriptionOptions())
    for number, (clip, length_ms) in enumerate(((EN, 2_000), (EN, 3_000), (ES, 25_000))):
        choice.add(Recognition(WORDS, *clip), number=number, length_ms=length_ms)
    assert [one.language for one in choice.finish()] == ["es"] * 3


def test_unclear_clips_vote():
    unclear = [("nn", 0.3), ("en", 0.2), ("en", 0.25)]
    assert decide(*unclear)[0] == []
    assert decide(*unclear * 3)[0] == ["en"] * 9


def test_clips_without_words_have_no_vote_and_end_the_wait():
    assert decide(*[None] * (language.MAX_CLIPS - 1)) == ([], [None] * (language.MAX_CLIPS - 1))
    assert decide(*[None] * (language.MAX_CLIPS - 2), ("en", 0.2), None)[0] == ["en"] * language.MAX_CLIPS
    # Music first, then speech.
    assert decide(*[None] * language.MAX_CLIPS, ES, ES, ES)[0] == [None] * language.MAX_CLIPS + ["es"] * 3


def test_engine_that_detects_nothing_needs_no_second_clip():
    assert decide(("en", None))[0] == ["en"]


def test_single_clips_in_other_languages_change_nothing():
    heard = [EN, EN, EN, ES, EN, DE, ES, EN, None, ES, ES, EN]
    assert decide(*heard) == (["en"] * 12, [])


def test_recording_goes_on_in_a_language_that_lasts():
    """Two minutes of English before an hour of Spanish."""
    assert decide(*[EN] * 6, *[ES] * 10)[0] == ["en"] * 6 + ["es"] * 10
    assert decide(*[EN] * 3, ES, None, ES, ES, EN) == (["en"] * 3 + ["es"] * 4, ["es"])
    assert decide(*[EN] * 3, ES, ES) == (["en"] * 3, ["en"] * 2)


def test_related_languages_that_are_mistaken_for_each_other_change_nothing():
    assert decide(*[("hr", 0.9)] * 3, *[("bs", 0.6)] * 6)[0] == ["hr"] * 9


@pytest.mark.parametrize("options", [{"language": "de"}, {"mixed_languages": True}])
def test_no_decision_is_needed_with_these_options(options):
    assert decide(EN, ES, **options)[0] == [None, None]


class Detecting(FakeEngine):
    """Detects a language by the length of the clip, unless the request names one."""

    BY_SECONDS = {1: ("nn", 0.2), 2: EN, 3: ES}

    def recognise(self, clips, *, options):
        self.batch_sizes.append(len(clips))
        detected = [self.BY_SECONDS[len(clip) // SAMPLE_RATE] for clip in clips]
        found = [(options.language, None) if options.language else one for one in detected]
        return [Recognition((Word(str(options.language), 0, 100, 0.5),), *one) for one in found]


def heard(engine, *clips, **options):
    """Return the recognition of each clip. Clips are seconds, or (seconds, language that is named)."""
    given = [one if isinstance(one, tuple) else (one, None) for one in clips]
    streamed = [StreamedClip(np.zeros(one * SAMPLE_RATE, dtype=np.float32), named) for one, named in given]
    return list(language.stream(engine, streamed, options=TranscriptionOptions(**options)))


def test_clip_in_another_language_is_recognised_again():
    found = heard(Detecting(), 1, 2, 2, 2, 3, 2)
    assert [one.words[0].text for one in found] == ["en", "None", "None", "None", "en", "None"]
    assert {one.language for one in found} == {"en"}
    assert [one.language_probability for one in found] == [0.8, 0.99, 0.99, 0.99, 0.01, 0.99]
    assert [one.heard_language for one in found] == [None, None, None, None, "es", None]


def test_clips_are_recognised_together_once_the_language_is_known():
    engine = Detecting()
    heard(engine, *[2] * 12)
    assert engine.batch_sizes == [1, 1, 1, 8, 1]
    engine = Detecting()
    heard(engine, *[2] * 12, language="en")
    assert engine.batch_sizes == [8, 4]


def test_clips_in_a_language_that_is_named_have_no_vote():
    """Neither before the language is decided, nor after it: they say nothing of what others speak."""
    named = (3, "es")
    found = heard(Detecting(), named, named, named, 2, 2, named, 2, named, named, named, 2)
    assert [one.language for one in found] == ["es"] * 3 + ["en", "en", "es", "en"] + ["es"] * 3 + ["en"]
    assert [one.words[0].text for one in found if one.language == "es"] == ["es"] * 7
