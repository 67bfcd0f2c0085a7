"""Which pieces of speech are one voice, by their voice prints. Arithmetic only.

The prints of two pieces of one person are the more alike, the longer the pieces are: their cosine grows about as
d / (d + 1.35) with the seconds d of both, from 0.24 at half a second to 0.81 at six. So two voices are joined as long
as their cosine is above a limit that depends on how much of each has been heard. A fixed limit either splits short
pieces of one voice or joins two voices that are alike. In recordings whose pieces are more alike than that, which are
clean ones, the limit is higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.intp]

# Chosen on AMI's trn excerpts, on meetings made of them, and on generated dialogues: from 0.55 to 0.65 little changes.
LIMIT = 0.6
HALF_SECONDS = 1.0
# A piece is compared with so many before it and after it; the most alike of them is mostly the same voice. Where the
# median of these cosines, divided by what HALF_SECONDS lets expect of one voice, is above 1, the limit rises twice as
# much, by at most 30 %. In all meetings of 10 minutes it is below. Chosen on `trn` and on generated dialogues.
NEIGHBOURS = 4
EXPECTED_LIKENESS, RISE, MAX_RISE = 1.0, 2.0, 1.3
# Of so many pieces the median counts half.
_HALF_PIECES = 4
# The limit of two voices that are each in a band of its own, for prints without what channels make of them. Chosen on
# seven people who read, through six codecs: of two people in two bands the most alike have 0.42, of one person half
# have 0.74 and one of twenty less than 0.57.
LIMIT_ACROSS_BANDS = 0.53
# Two voices are in different bands if these are so many bins of the filterbank apart. A telephone has 57 to 66 of 80.
BAND_STEP = 5
# Less speech than this, or than this part of all speech, is no voice of its own.
MIN_VOICE_SECONDS = 10.0
MIN_VOICE_PART = 0.01
# What a voice must have said to be one of a number that the customer states; the first that can be met counts.
STATED_VOICE_SECONDS, STATED_VOICE_PART = (1.5, 0.75, 0.0), 0.02
# A stated number is looked for among this many more voices, since some of them are noise.
_STATED_EXTRA = 25
# The matrix of pieces is quadratic: an hour and a half has this many. Longer recordings are sampled evenly.
MAX_JOINED = 1600


@dataclass(frozen=True, slots=True)
class Joined:
    """labels: the voice of each piece, from 0. voices: (number of voices, 192), of length 1."""

    labels: IntArray
    voices: Float32Array


def sureness(seconds: Float32Array | npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Return how alike pieces of these lengths are to their voice; the cosine to be expected is the product of two."""
    return np.sqrt(seconds / (seconds + HALF_SECONDS))


def likeness(one: Float32Array, other: Float32Array, *, seconds: Sequence[float]) -> float:
    """Return the cosine of two prints divided by what is expected of one voice. seconds: the lengths of the two."""
    expected = float(sureness(np.array(seconds, dtype=np.float64)).prod())
    return float(normalised(one) @ normalised(other)) / expected


def limit_of(prints: Float32Array, seconds: Float32Array) -> float:
    """Return the limit of a recording, at least LIMIT. prints: (n, 192) of pieces in order of time. seconds: (n,)."""
    count = len(prints)
    if count < 2:
        return LIMIT
    sure = normalised(prints) / sureness(seconds)[:, None]
    best = np.full(count, -np.inf)
    for apart in range(1, min(NEIGHBOURS, count - 1) + 1):
        alike = np.einsum("ij,ij->i", sure[:-apart], sure[apart:])
        best[:-apart] = np.maximum(best[:-apart], alike)
        best[apart:] = np.maximum(best[apart:], alike)
    excess = (float(np.median(best)) - EXPECTED_LIKENESS) * count / (count + _HALF_PIECES)
    return LIMIT * min(max(1 + RISE * excess, 1.0), MAX_RISE)


def join(
    prints: Float32Array,
    seconds: Float32Array,
    *,
    min_voices: int,
    max_voices: int,
    limit: float = LIMIT,
    max_joined: int = MAX_JOINED,
) -> Joined:
    """Return the voices of pieces. prints: (n, 192) with n of at least 1. seconds: (n,), their lengths.

    There are at most `max_voices`, and at least `min_voices` if there are as many pieces. limit: see `limit_of`.
    """
    unit = normalised(prints)
    sample = np.arange(0, len(unit), -(-len(unit) // max_joined))
    labels = _joined(unit[sample], seconds[sample], min_voices=min_voices, max_voices=max_voices, limit=limit)
    voices = _voices(unit[sample], seconds[sample], labels)
    # Early joins were made on less than is known now: every piece goes to the nearest voice once.
    nearest = (unit @ voices.T).argmax(axis=1)
    if len(np.unique(nearest)) == len(voices):
        return Joined(nearest, _voices(unit, seconds, nearest))
    nearest[sample] = labels
    return Joined(nearest, voices)


def across_bands(joined: Joined, prints: Float32Array, seconds: Float32Array, *, tops: IntArray) -> IntArray:
    """Return the person of each voice, from 0 without a gap: one person has a voice in each band of the recording.

    prints: (n, 192) of the joined pieces, without what channels make of them. tops: (n,), the bin above the highest
    frequency of each; -1 where it is not known. The most alike voices come first, and nobody has two voices in one
    band, since these were compared before.
    """
    count = len(joined.voices)
    sums = np.zeros_like(joined.voices)
    np.add.at(sums, joined.labels, normalised(prints) * seconds[:, None])
    heard = np.bincount(joined.labels, weights=seconds, minlength=count).astype(np.float64)
    bands = [_band(tops[joined.labels == voice], seconds[joined.labels == voice]) for voice in range(count)]
    is_across = np.array([[_are_apart(one, other) for other in bands] for one in bands])
    margins = np.stack([_margins(one, sums, heard, limit=LIMIT_ACROSS_BANDS) for one in range(count)])
    people = np.arange(count)
    pairs = [(int(one), int(other)) for one, other in np.argwhere(is_across & (margins > 0)) if one < other]
    for one, other in sorted(pairs, key=lambda pair: -margins[pair]):
        mine, theirs = np.flatnonzero(people == people[one]), np.flatnonzero(people == people[other])
        each = np.ix_(mine, theirs)
        # Every pair: a voice between two people would make one of them.
        if is_across[each].all() and (margins[each] > 0).all():
            people[theirs] = people[one]
    return np.asarray(np.unique(people, return_inverse=True)[1], dtype=np.intp)


def _band(tops: IntArray, seconds: Float32Array) -> tuple[int, int] | None:
    """Return the tops between which half of the seconds of a voice are, without a quarter on each side."""
    known = tops >= 0
    if not known.any():
        return None
    order = np.argsort(tops[known], kind="stable")
    part = np.cumsum(seconds[known][order]) / seconds[known].sum()
    low, high = np.minimum(np.searchsorted(part, (0.25, 0.75)), len(order) - 1)
    return int(tops[known][order][low]), int(tops[known][order][high])


def _are_apart(one: tuple[int, int] | None, other: tuple[int, int] | None) -> bool:
    if one is None or other is None:
        return False
    return max(one[0] - other[1], other[0] - one[1]) >= BAND_STEP


def common(one: Float32Array | None, other: Float32Array | None) -> Float32Array | None:
    """Return the print of both of two pieces, (192,), if their cosine is at least LIMIT; else None."""
    if one is None or other is None:
        return None
    first, second = normalised(one), normalised(other)
    return first + second if float(first @ second) >= LIMIT else None


def _joined(unit: Float32Array, seconds: Float32Array, *, min_voices: int, max_voices: int, limit: float) -> IntArray:
    """Return the labels of pieces, from 0 without a gap."""
    merges, usual = merge_order(unit, seconds, limit=limit)
    labels = _replayed(merges[:usual], len(unit))
    total = float(seconds.sum())
    labels = _keep(labels, unit, seconds, least=min(MIN_VOICE_PART * total, MIN_VOICE_SECONDS), most=max_voices)
    count = int(labels.max()) + 1
    if count < min_voices or (min_voices == max_voices and count != min_voices):
        labels = _stated(merges, unit, seconds, count=min(min_voices, len(unit)))
    return labels


def merge_order(
    unit: Float32Array, seconds: Float32Array, *, limit: float = LIMIT
) -> tuple[list[tuple[int, int]], int]:
    """Return (pairs that are joined, in order, until one voice is left; how many of them are one voice by `limit`).

    The second of a pair becomes part of the first. A voice is the sum of its prints, weighted by seconds.
    """
    count = len(unit)
    sums = unit * seconds[:, None]
    heard = seconds.astype(np.float64)
    margins = np.full((count, count), -np.inf, dtype=np.float32)
    for one in range(count):
        margins[one] = _margins(one, sums, heard, limit=limit)
    best = margins.argmax(axis=1)
    merges: list[tuple[int, int]] = []
    usual = -1
    alive = np.ones(count, dtype=bool)
    for _ in range(count - 1):
        tops = np.where(alive, margins[np.arange(count), best], -np.inf)
        one = int(tops.argmax())
        other = int(best[one])
        if usual < 0 and tops[one] <= 0:
            usual = len(merges)
        merges.append((one, other))
        sums[one] += sums[other]
        heard[one] += heard[other]
        alive[other] = False
        margins[other, :] = margins[:, other] = -np.inf
        row = np.where(alive, _margins(one, sums, heard, limit=limit), -np.inf)
        margins[one, :] = margins[:, one] = row
        # Only rows whose best partner is one of the two, or is beaten by the new voice, have another best one.
        stale = alive & ((best == one) | (best == other))
        stale[one] = True
        better = alive & ~stale & (row > margins[np.arange(count), best])
        best[better] = one
        best[stale] = margins[stale].argmax(axis=1)
    return merges, len(merges) if usual < 0 else usual


def _margins(one: int, sums: Float32Array, heard: npt.NDArray[np.float64], *, limit: float) -> npt.NDArray[np.float64]:
    """Return by how much the cosine of one voice with each other one is above the limit of both; -inf for itself."""
    lengths = np.linalg.norm(sums, axis=1)
    cosines = sums @ sums[one] / np.maximum(lengths * lengths[one], 1e-12)
    sure = sureness(heard)
    found = np.asarray(cosines - limit * sure * sure[one], dtype=np.float64)
    found[one] = -np.inf
    return found


def _replayed(merges: Iterable[tuple[int, int]], count: int) -> IntArray:
    """Return the labels, from 0 without a gap, after these joins of `count` pieces."""
    owners = np.arange(count)
    for one, other in merges:
        owners[owners == other] = one
    return np.asarray(np.unique(owners, return_inverse=True)[1], dtype=np.intp)


def _keep(labels: IntArray, unit: Float32Array, seconds: Float32Array, *, least: float, most: int) -> IntArray:
    """Return the labels without voices of less than `least` seconds, at most `most`; the others take their pieces."""
    sizes = np.bincount(labels, weights=seconds)
    kept = [voice for voice in np.argsort(-sizes, kind="stable")[:most].tolist() if sizes[voice] >= least]
    kept = sorted(kept) or [int(sizes.argmax())]
    voices = _voices(unit, seconds, labels)[kept]
    moved = np.asarray((unit @ voices.T).argmax(axis=1), dtype=np.intp)
    for number, voice in enumerate(kept):
        moved[labels == voice] = number
    return moved


def _stated(merges: list[tuple[int, int]], unit: Float32Array, seconds: Float32Array, *, count: int) -> IntArray:
    """Return labels of exactly `count` voices: as few joins are undone or added as possible.

    Simply to cut the order of joins at `count` would count a cough as a person.
    """
    total = float(seconds.sum())
    for least in STATED_VOICE_SECONDS:
        size = max(least, STATED_VOICE_PART * total) if least == STATED_VOICE_SECONDS[0] else least
        for stage in range(count, min(len(unit), count + _STATED_EXTRA) + 1):
            labels = _replayed(merges[: len(unit) - stage], len(unit))
            if np.count_nonzero(np.bincount(labels, weights=seconds) >= size) == count:
                return _keep(labels, unit, seconds, least=size, most=count)
    return _replayed(merges[: len(unit) - count], len(unit))


def _voices(unit: Float32Array, seconds: Float32Array, labels: IntArray) -> Float32Array:
    """Return the voice of each label, of length 1."""
    sums = np.zeros((int(labels.max()) + 1, unit.shape[1]), dtype=np.float32)
    np.add.at(sums, labels, unit * seconds[:, None])
    return normalised(sums)


def normalised(prints: Float32Array) -> Float32Array:
    """Return the prints with length 1."""
    return np.asarray(prints / np.maximum(np.linalg.norm(prints, axis=-1, keepdims=True), 1e-9), dtype=np.float32)
