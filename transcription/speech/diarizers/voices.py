"""How alike two stretches of speech sound: Gaussians over cepstra, compared as in classic diarization. Arithmetic only.

A voice is the normal distribution of its cepstra (Gish, Siu and Rohlicek 1991). Two of them are as far apart as the
sound loses likelihood, per frame, when one distribution must do for both; less what chance alone would lose, which is
more the fewer frames there are (the idea of Chen and Gopalakrishnan 1998, "BIC"). Per frame, because the same few
sentences said again and again are no better proof of a second speaker than said once.
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
    Small = npt.NDArray[np.float32]

# Every distribution is drawn towards the usual one by as much as this many frames would.
_PRIOR_FRAMES = 40.0
# What chance loses: this much in all, for 16 cepstra.
_CHANCE = 100.0


@dataclass(frozen=True, slots=True)
class Sound:
    """What is kept of a stretch of speech. count: frames with a voice; sums: (SIZE,); products: (SIZE, SIZE)."""

    count: int
    sums: Small
    products: Small


class Voices:
    """Distributions of n sounds, to be compared and joined."""

    def __init__(self, sounds: Sequence[Sound], *, usual: Matrix) -> None:
        """usual: (SIZE, SIZE), the covariance within one sound (see `usual`)."""
        self.counts = np.maximum(np.array([sound.count for sound in sounds], dtype=np.float64), 1e-9)
        self.sums = np.array([sound.sums for sound in sounds], dtype=np.float64).reshape(-1, SIZE)
        self.products = np.array([sound.products for sound in sounds], dtype=np.float64).reshape(-1, SIZE, SIZE)
        self._usual = usual
        self._spreads = self._spread(self.counts, self.sums, self.products)

    def __len__(self) -> int:
        return len(self.counts)

    def distances(self, one: int, others: Sequence[int] | npt.NDArray[np.intp]) -> Matrix:
        """Return how much worse one voice explains both, for each of the others: (others,), 0 for chance."""
        counts = self.counts[one] + self.counts[others]
        joint = self._spread(counts, self.sums[one] + self.sums[others], self.products[one] + self.products[others])
        alone = self.counts[one] * self._spreads[one] + self.counts[others] * self._spreads[others]
        lost = 0.5 * (counts * joint - alone)
        return np.asarray((lost - _CHANCE) * counts / (self.counts[one] * self.counts[others]))

    def join(self, one: int, other: int) -> None:
        """Make `one` the voice of both; `other` stays as it is."""
        self.counts[one] += self.counts[other]
        self.sums[one] += self.sums[other]
        self.products[one] += self.products[other]
        here = slice(one, one + 1)
        self._spreads[here] = self._spread(self.counts[here], self.sums[here], self.products[here])

    def likelihoods(self, sounds: Voices) -> Matrix:
        """Return the log likelihood of each sound under each of these voices: (sounds, voices)."""
        columns = []
        for index in range(len(self)):
            here = slice(index, index + 1)
            mean, covariance = (
                part[0] for part in self._shape(self.counts[here], self.sums[here], self.products[here])
            )
            precision = np.linalg.inv(covariance)
            around = np.einsum("ijk,jk->i", sounds.products, precision)
            around += -2 * sounds.sums @ precision @ mean + sounds.counts * (mean @ precision @ mean)
            columns.append(-0.5 * (sounds.counts * self._spreads[index] + around))
        return np.stack(columns, axis=1)

    def _spread(self, counts: Matrix, sums: Matrix, products: Matrix) -> Matrix:
        """Return the log determinant of each covariance."""
        return np.asarray(np.linalg.slogdet(self._shape(counts, sums, products)[1])[1])

    def _shape(self, counts: Matrix, sums: Matrix, products: Matrix) -> tuple[Matrix, Matrix]:
        """Return (means, covariances)."""
        means = sums / counts[:, None]
        scatter = products - counts[:, None, None] * means[:, :, None] * means[:, None, :]
        return means, (scatter + _PRIOR_FRAMES * self._usual) / (counts + _PRIOR_FRAMES)[:, None, None]


def usual(sounds: Sequence[Sound]) -> Matrix:
    """Return the covariance of cepstra within one sound: what a voice of which little is known is taken to have."""
    scatter, total = np.zeros((SIZE, SIZE)), 0
    for sound in sounds:
        if sound.count > SIZE:
            sums = sound.sums.astype(np.float64)
            scatter += sound.products - np.outer(sums, sums) / sound.count
            total += sound.count
    return np.asarray(scatter / max(1, total) + 1e-3 * np.eye(SIZE))


def grouped(sounds: Sequence[Sound], *, usual: Matrix, fewest: int, most: int, apart: float) -> list[list[int]]:
    """Return the sounds' indices, one list per voice: the nearest two voices are joined until all are `apart`.

    Gives at most `most` voices, and `fewest` unless there are fewer sounds.
    """
    voices = Voices(sounds, usual=usual)
    groups: dict[int, list[int]] = {index: [index] for index in range(len(sounds))}
    distances = np.full((len(sounds), len(sounds)), np.inf)
    for one in range(len(sounds) - 1):
        distances[one, one + 1 :] = distances[one + 1 :, one] = voices.distances(one, np.arange(one + 1, len(sounds)))
    while len(groups) > max(1, fewest):
        one, other = (int(index) for index in np.unravel_index(np.argmin(distances), distances.shape))
        if len(groups) <= most and distances[one, other] >= apart:
            break
        voices.join(one, other)
        groups[one] += groups.pop(other)
        distances[other, :] = distances[:, other] = np.inf
        others = np.array([index for index in groups if index != one], dtype=np.intp)
        if len(others):
            distances[one, others] = distances[others, one] = voices.distances(one, others)
    return list(groups.values())


def joined(sounds: Sequence[Sound]) -> Sound:
    """Return several sounds as one."""
    return Sound(
        sum(sound.count for sound in sounds),
        np.sum([sound.sums for sound in sounds], axis=0),
        np.sum([sound.products for sound in sounds], axis=0),
    )


def sound(cepstra: Small) -> Sound:
    """Return what is kept of frames, (frames, SIZE)."""
    return Sound(len(cepstra), cepstra.sum(axis=0), cepstra.T @ cepstra)
