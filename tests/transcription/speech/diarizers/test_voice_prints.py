from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from tests.transcription.speech.dialogues import said_by_two_men, spoken_by
from transcription.speech.diarizers import filterbank, voice_prints

AWB, KAL16, AWB_AGAIN, KAL16_AGAIN = (samples for _, samples in said_by_two_men())


def hear(*parts):
    """Return what is heard of parts with a pause between each two."""
    said = np.concatenate(parts)
    return voice_prints.hear(said, pauses=list(accumulate(len(part) for part in parts[:-1])))


@pytest.mark.long
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
    assert hear(*parts).change == change


@pytest.mark.long
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
    assert hear(*parts).change is None


def test_side_that_is_too_short_for_a_print_is_not_judged():
    short = int(voice_prints.MIN_SECONDS * 16_000) - 1
    assert hear(KAL16[:short], AWB).change is None
    assert hear(AWB, KAL16[:short]).change is None


def test_pauses_leave_the_print_as_it_is():
    said = np.concatenate([AWB, KAL16])
    assert np.array_equal(hear(AWB, KAL16).voice_print, voice_prints.hear(said, pauses=[]).voice_print)


def test_loudness_changes_nothing():
    loud, quiet = hear(AWB, KAL16), hear(AWB * np.float32(0.01), KAL16 * np.float32(0.01))
    assert (quiet.top, quiet.change) == (loud.top, loud.change)
    assert float(np.abs(quiet.voice_print - loud.voice_print).max()) < 0.1


def below(samples, hertz):
    """Return the samples without what is above a frequency, in 16 bits."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / 16_000) > hertz] = 0
    return (np.rint(np.fft.irfft(spectrum, len(samples)) * 32_768) / 32_768).astype(np.float32)


@pytest.mark.parametrize(
    ("hertz", "least", "most"), [(3_400, 56, 60), (4_000, 60, 65), (5_500, 68, 73), (8_000, 76, 80)]
)
@pytest.mark.parametrize("level_db", [0, -20])
def test_highest_frequency_is_known(hertz, least, most, level_db):
    """Above it there is the noise of 16 bits."""
    for said in (AWB, KAL16):
        quieter = said * np.float32(10 ** (level_db / 20))
        assert least <= voice_prints.top(filterbank.log_mel(below(quieter, hertz))) <= most


def test_noise_on_top_hides_the_band():
    """So nothing is joined that was not, whatever hiss a recording has."""
    hiss = np.random.default_rng(0).normal(0, np.sqrt((AWB**2).mean()) / 18, len(AWB)).astype(np.float32)
    assert voice_prints.top(filterbank.log_mel(below(AWB, 3_400) + hiss)) == filterbank.BINS
