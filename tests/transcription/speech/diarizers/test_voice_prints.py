from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from tests.transcription.speech.dialogues import said_by_two_men, spoken_by
from transcription.speech.diarizers import voice_prints

AWB, KAL16, AWB_AGAIN, KAL16_AGAIN = (samples for _, samples in said_by_two_men())


def hear(*parts):
    """Return (print, change) of parts with a pause between each two."""
    said = np.concatenate(parts)
    return voice_prints.hear(said, pauses=list(accumulate(len(part) for part in parts[:-1])))


@pytest.mark.parametrize(
    ("parts", "change"),
    [
        ((AWB, KAL16), 0),
        ((KAL16, AWB), 0),
        ((AWB, KAL16_AGAIN), 0),
        ((AWB, AWB_AGAIN, KAL16), 1),
        ((AWB, KAL16, KAL16_AGAIN), 0),
        ((spoken_by("dialogue.flac", "S1")[0], spoken_by("dialogue.flac", "S2")[0]), 0),
    ],
)
def test_pause_at_which_the_voice_changes_is_found(parts, change):
    assert hear(*parts)[1] == change


@pytest.mark.parametrize(
    "parts",
    [
        (AWB, AWB_AGAIN),
        (KAL16, KAL16_AGAIN),
        (KAL16[:16_000], KAL16[16_000:]),
        spoken_by("dialogue.flac", "S1"),
        spoken_by("dialogue.flac", "S2"),
    ],
)
def test_pause_of_one_voice_changes_nothing(parts):
    assert hear(*parts)[1] is None


def test_side_that_is_too_short_for_a_print_is_not_judged():
    short = int(voice_prints.MIN_SECONDS * 16_000) - 1
    assert hear(KAL16[:short], AWB)[1] is None
    assert hear(AWB, KAL16[:short])[1] is None


def test_pauses_leave_the_print_as_it_is():
    said = np.concatenate([AWB, KAL16])
    assert np.array_equal(hear(AWB, KAL16)[0], voice_prints.hear(said, pauses=[])[0])


def test_loudness_changes_nothing():
    voice_print, change = hear(AWB, KAL16)
    quiet, same = hear(AWB * np.float32(0.01), KAL16 * np.float32(0.01))
    assert (same, float(np.abs(quiet - voice_print).max()) < 0.1) == (change, True)
