"""Synthetic voices: normal distributions over cepstra, with means that a test chooses."""

from __future__ import annotations

import numpy as np
import pytest

from transcription.speech.diarizers import voices
from transcription.speech.diarizers.cepstra import SIZE

THRESHOLD = 4.0


def stretch(seed, *, mean=0.0, frames=300):
    made = np.random.default_rng(seed).normal(mean, 1.0, (frames, SIZE))
    return voices.statistics(made.astype(np.float32))


def distance(*stretches):
    pooled = voices.pooled_covariance(stretches)
    return float(voices.Voices(stretches, pooled_covariance=pooled).distances(0, [1])[0])


def cluster(*stretches, min_speakers=1, max_speakers=20):
    groups = voices.cluster(
        stretches,
        pooled_covariance=voices.pooled_covariance(stretches),
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        threshold=THRESHOLD,
    )
    return sorted(sorted(group) for group in groups)


def test_same_voice_is_no_farther_than_chance():
    assert distance(stretch(1), stretch(2)) < 0


def test_distance_grows_with_the_difference_of_voices():
    near, far = distance(stretch(1), stretch(2, mean=1.0)), distance(stretch(1), stretch(2, mean=4.0))
    assert 0 < near < THRESHOLD < far


def test_repetition_is_no_evidence_of_a_second_speaker():
    """Ten copies of the same frames are ten times as many, but not more different."""
    once = distance(stretch(1), stretch(2, mean=4.0))
    often = distance(voices.merge([stretch(1)] * 10), voices.merge([stretch(2, mean=4.0)] * 10))
    assert often == pytest.approx(once, rel=0.5)


def test_merged_statistics_are_those_of_all_frames():
    frames = np.random.default_rng(1).normal(0.0, 1.0, (100, SIZE)).astype(np.float32)
    merged = voices.merge([voices.statistics(frames[:40]), voices.statistics(frames[40:])])
    whole = voices.statistics(frames)
    assert merged.count == whole.count
    assert np.allclose(merged.sums, whole.sums, atol=1e-3)
    assert np.allclose(merged.products, whole.products, atol=1e-3)


FOUR = (stretch(1), stretch(2, mean=4.0), stretch(3), stretch(4, mean=4.0))


def test_stretches_of_one_voice_are_one_cluster():
    assert cluster(*FOUR) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("bounds", "count"), [({"min_speakers": 3}, 3), ({"max_speakers": 1}, 1), ({"min_speakers": 9}, 4)]
)
def test_number_of_clusters_is_bounded(bounds, count):
    assert len(cluster(*FOUR, **bounds)) == count


def test_likelihood_is_highest_under_the_own_voice():
    pooled = voices.pooled_covariance(FOUR)
    speakers = voices.Voices(FOUR[:2], pooled_covariance=pooled)
    likely = speakers.likelihoods(voices.Voices(FOUR[2:], pooled_covariance=pooled))
    assert likely.argmax(axis=1).tolist() == [0, 1]
