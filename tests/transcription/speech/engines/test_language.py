from __future__ import annotations

import numpy as np
import pytest

from tests.transcription.speech.fakes import FakeEngine
from transcription.speech.engines import language
from transcription.speech.engines.base import Recognition
from transcription.speech.engines.language import LanguageChoice
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE
from transcription.speech.transcript import Word

WORDS = (Word("word", 0, 100, 0.5),)


def decide(*clips, **options):
    """Return the choice after these clips, each (language, probability), or None for a clip without words."""
    choice = LanguageChoice(TranscriptionOptions(**options))
    for clip in clips:
        choice.add(Recognition(()) if clip is None else Recognition(WORDS, *clip))
    return choice


def test_clear_clip_decides_alone():
    choice = decide(("nn", 0.2), ("en", 0.9))
    assert (choice.is_decided, choice.language, choice.probability) == (True, "en", 0.9)


def test_unclear_clips_vote():
    choice = decide(("nn", 0.3), ("en", 0.2), ("en", 0.25))
    assert (choice.is_decided, choice.language, choice.probability) == (True, "en", 0.15)


def test_clips_without_words_have_no_vote_and_end_the_wait():
    assert not decide(*[None] * (language.MAX_CLIPS - 1)).is_decided
    choice = decide(*[None] * (language.MAX_CLIPS - 2), ("en", 0.2), None)
    assert (choice.is_decided, choice.language) == (True, "en")


@pytest.mark.parametrize("options", [{"language": "de"}, {"mixed_languages": True}])
def test_no_decision_is_needed_with_these_options(options):
    choice = decide(("en", 0.9), **options)
    assert (choice.is_decided, choice.language) == (True, options.get("language"))


def test_clip_in_another_language_is_recognised_again():
    class Engine(FakeEngine):
        """Detects Norwegian in the first clip and English in the second, unless the request names the language."""

        def recognise(self, clips, *, options):
            detected = [(("nn", 0.2), ("en", 0.9))[len(clip) // SAMPLE_RATE - 1] for clip in clips]
            found = [(options.language, None) if options.language else one for one in detected]
            return [Recognition((Word(str(options.language), 0, 100, 0.5),), *one) for one in found]

    clips = [np.zeros(seconds * SAMPLE_RATE, dtype=np.float32) for seconds in (1, 2, 1)]
    heard = list(language.stream(Engine(), clips, options=TranscriptionOptions()))
    assert [one.words[0].text for one in heard] == ["en", "None", "en"]
    assert {(one.language, one.language_probability) for one in heard} == {("en", 0.9)}
