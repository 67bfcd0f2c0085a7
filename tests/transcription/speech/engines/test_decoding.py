from __future__ import annotations

from dataclasses import replace

import pytest

from transcription.speech.engines.decoding import Decoding

GOOD = Decoding(tokens=[1], text=" We meet at noon.", mean_log_probability=-0.2, no_speech=0.1, is_cut_off=False)
UNLIKELY = replace(GOOD, mean_log_probability=-1.1)
# People repeat themselves too: at -0.3 a repetition may have been said.
REPEATED = replace(GOOD, text=" no" * 12, mean_log_probability=-0.3)


def test_good_decoding_is_taken():
    assert not GOOD.is_silence
    assert not GOOD.is_doubtful
    assert not GOOD.needs_full_context
    assert not GOOD.is_bad(duration_ms=2_000)


def test_unlikely_text_is_silence_only_if_the_model_hears_no_speech_too():
    assert UNLIKELY.is_doubtful
    assert not UNLIKELY.is_silence
    assert replace(UNLIKELY, no_speech=0.9).is_silence
    assert not replace(GOOD, no_speech=0.9).is_silence


@pytest.mark.parametrize(
    "decoding", [replace(GOOD, mean_log_probability=-0.41), replace(GOOD, is_cut_off=True), REPEATED]
)
def test_short_context_is_not_enough(decoding):
    """Also for what would be good enough in the full context."""
    assert decoding.needs_full_context


def test_repetition_is_wrong_only_if_nobody_can_have_said_it():
    assert REPEATED.is_doubtful
    assert not REPEATED.is_bad(duration_ms=6_000)
    assert REPEATED.is_bad(duration_ms=600)
    assert replace(REPEATED, is_cut_off=True).is_bad(duration_ms=6_000)
    assert replace(REPEATED, mean_log_probability=-1.1).is_bad(duration_ms=6_000)
