"""What the tests of files hear: samples and what was not heard."""

from __future__ import annotations

import numpy as np

from transcription.speech import audio, hearing, probing
from transcription.speech.samples import SAMPLE_RATE, samples_to_ms

HOUR_MS = 3_600_000


def heard(path, *, channel=None, slack_ms=100):
    """Return (samples, facts). Asserts that the probe finds the decoded length, give or take the slack."""
    facts: list[hearing.Fact] = []
    samples = np.concatenate(list(audio.windows(path, max_duration_ms=10 * HOUR_MS, channel=channel, facts=facts)))
    assert abs(probing.probe(path, max_duration_ms=10 * HOUR_MS).duration_ms - samples_to_ms(len(samples))) <= slack_ms
    return samples, facts


def loud_from_to(samples):
    """Return the seconds at which sound begins and ends."""
    loud = np.flatnonzero(np.abs(samples) > 0.05)
    return loud[0] / SAMPLE_RATE, loud[-1] / SAMPLE_RATE
