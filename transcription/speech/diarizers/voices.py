"""Distances between the voices of two stretches of speech, and the clustering that builds on them. Arithmetic only.

A voice is modelled as one normal distribution over cepstra (Gish, Siu and Rohlicek 1991). The distance of two voices is
the log likelihood that is lost per frame when one distribution must explain both. The loss to be expected by chance is
subtracted; with fewer frames it is larger (the idea of Chen and Gopalakrishnan 1998, "BIC"). The distance is per frame,
because repeating the same few sentences adds frames but no evidence for a second speaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transcription.speech.diarizers.cepstra import SIZE

if TYPE_CHECKING:
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float64]
    Float32Array = npt.NDArray[np.float32]

# The pooled covariance counts as much as this many frames of the voice itself: the prior of every covariance.
_PRIOR_FRAMES = 40.0
# Loss by chance, in log likelihood for a whole comparison of 16 cepstra.
_BIC_PENALTY = 100.0


@dataclass(frozen=True, slots=True)
class VoiceStatistics:
    """The sufficient statistics of the voiced frames of a stretch.

    count: number of frames. sums: (SIZE,), their sum. products: (SIZE, SIZE), the sum of their outer products.
    """

    count: int
    sums: Float32Array
    products: Float32Array


class Voices:
    """The normal distributions of n voices, which can be compared and merged."""

    def __init__(self, voices: Sequence[VoiceStatistics], *, pooled_covariance: Matrix) -> None:
        """pooled_covariance: (SIZE, SIZE), from the function of that name."""
        self.counts = np.maximum(np.array([voice.count for voice in voices], dtype=np.float64), 1e-9)
        self.sums = np.array([voice.sums for voice in voices], dtype=np.float64).reshape(-1, SIZE)
        self.products = np.array([voice.products for voice in voices], dtype=np.float64).reshape(-1, SIZE, SIZE)
        self._pooled_covariance = pooled_covariance
        self._log_determinants = self._log_determinants_of(self.counts, self.sums, self.products)

    def __len__(self) -> int:
        return len(self.counts)

    def distances(self, one: int, others: Sequence[int] | npt.NDArray[np.intp]) -> Matrix:
        """Return the distance of one voice from each of the others: (others,). 0 is what chance explains."""
        counts = self.counts[one] + self.counts[others]
        joint = self._log_determinants_of(
            counts, self.sums[one] + self.sums[others], self.products[one] + self.products[others]
        )
        alone = self.counts[one] * self._log_determinants[one] + self.counts[others] * self._log_determinants[others]
        lost = 0.5 * (counts * joint - alone)
        return np.asarray((lost - _BIC_PENALTY) * counts / (self.counts[one] * self.counts[others]))

    def merge(self, one: int, other: int) -> None:
        """Make `one` the voice of both. `other` is not changed."""
        self.counts[one] += self.counts[other]
        self.sums[one] += self.sums[other]
        self.products[one] += self.products[other]
        here = slice(one, one + 1)
        self._log_determinants[here] = self._log_determinants_of(
            self.counts[here], self.sums[here], self.products[here]
        )

    def likelihoods(self, others: Voices) -> Matrix:
        """Return the log likelihood of the frames of `others` under each of these voices: (others, voices)."""
        columns = []
        for index in range(len(self)):
            here = slice(index, index + 1)
            mean, covariance = (
                part[0] for part in self._means_and_covariances(self.counts[here], self.sums[here], self.products[here])
            )
            precision = np.linalg.inv(covariance)
            around = np.einsum("ijk,jk->i", others.products, precision)
            around += -2 * others.sums @ precision @ mean + others.counts * (mean @ precision @ mean)
            columns.append(-0.5 * (others.counts * self._log_determinants[index] + around))
        return np.stack(columns, axis=1)

    def _log_determinants_of(self, counts: Matrix, sums: Matrix, products: Matrix) -> Matrix:
        """Return the log determinant of each covariance."""
        return np.asarray(np.linalg.slogdet(self._means_and_covariances(counts, sums, products)[1])[1])

    def _means_and_covariances(self, counts: Matrix, sums: Matrix, products: Matrix) -> tuple[Matrix, Matrix]:
        means = sums / counts[:, None]
        scatter = products - counts[:, None, None] * means[:, :, None] * means[:, None, :]
        return means, (scatter + _PRIOR_FRAMES * self._pooled_covariance) / (counts + _PRIOR_FRAMES)[:, None, None]


def pooled_covariance(stretches: Sequence[VoiceStatistics]) -> Matrix:
    """Return the mean covariance inside a stretch, (SIZE, SIZE): the prior for voices with few frames."""
    scatter, total = np.zeros((SIZE, SIZE)), 0
    for stretch in stretches:
        if stretch.count > SIZE:
            sums = stretch.sums.astype(np.float64)
            scatter += stretch.products - np.outer(sums, sums) / stretch.count
            total += stretch.count
    return np.asarray(scatter / max(1, total) + 1e-3 * np.eye(SIZE))


def cluster(
    stretches: Sequence[VoiceStatistics],
    *,
    pooled_covariance: Matrix,
    min_speakers: int,
    max_speakers: int,
    threshold: float,
) -> list[list[int]]:
    """Return the indices of the stretches, one list per voice (agglomerative clustering).

    threshold: the two nearest voices are merged until no two are nearer than this.
    Returns at most `max_speakers` voices, and at least `min_speakers` unless there are fewer stretches.
    """
    voices = Voices(stretches, pooled_covariance=pooled_covariance)
    groups: dict[int, list[int]] = {index: [index] for index in range(len(stretches))}
    distances = np.full((len(stretches), len(stretches)), np.inf)
    for one in range(len(stretches) - 1):
        distances[one, one + 1 :] = distances[one + 1 :, one] = voices.distances(
            one, np.arange(one + 1, len(stretches))
        )
    while len(groups) > max(1, min_speakers):
        one, other = (int(index) for index in np.unravel_index(np.argmin(distances), distances.shape))
        if len(groups) <= max_speakers and distances[one, other] >= threshold:
            break
        voices.merge(one, other)
        groups[one] += groups.pop(other)
        distances[other, :] = distances[:, other] = np.inf
        others = np.array([index for index in groups if index != one], dtype=np.intp)
        if len(others):
            distances[one, others] = distances[others, one] = voices.distances(one, others)
    return list(groups.values())


def merge(stretches: Sequence[VoiceStatistics]) -> VoiceStatistics:
    """Return the statistics of several stretches together."""
    return VoiceStatistics(
        sum(stretch.count for stretch in stretches),
        np.sum([stretch.sums for stretch in stretches], axis=0),
        np.sum([stretch.products for stretch in stretches], axis=0),
    )


def statistics(cepstra: Float32Array) -> VoiceStatistics:
    """Return the statistics of frames. cepstra: (frames, SIZE)."""
    return VoiceStatistics(len(cepstra), cepstra.sum(axis=0), cepstra.T @ cepstra)
