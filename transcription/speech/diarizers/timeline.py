"""From channels and the voices of their pieces to turns. Arithmetic only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transcription.speech.diarizers.pieces import Runs, length, runs_of
from transcription.speech.diarizers.segmentation import CHANNELS, FRAME_OFFSET, FRAMES_PER_SECOND, HOP_SAMPLES
from transcription.speech.samples import samples_to_ms
from transcription.speech.transcript import Turn, speaker_id

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.intp]
    UInt8Array = npt.NDArray[np.uint8]

# Pieces from this length on decide which voices there are.
MIN_JOINED_SECONDS = 0.75
# Pieces from this length on tell how alike those of one voice are in this recording.
MIN_COMPARED_SECONDS = 1.0
# A short piece is drawn to the voice of the nearest long piece of its channel, if that is near enough.
_SURE_SECONDS, _STAY, _STAY_SECONDS = 0.5, 0.2, 3.0
# In overlapping speech a channel keeps the voice of its nearest piece, if that is near enough.
_OVERLAP_SECONDS = 5.0
# Where two speak and one of them is unknown, the other is who else spoke nearest in time, if that is near enough.
_NEIGHBOUR_SECONDS = 30.0
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """Speech of one channel of a section, without anybody else.

    voice_print: (192,), None if it is too short. is_heard: False if the print is that of the pieces around.
    top: see `voice_prints.Heard`; -1 if it was not heard.
    """

    section: int
    channel: int
    runs: Runs
    voice_print: Float32Array | None
    is_heard: bool = True
    top: int = -1

    @property
    def seconds(self) -> float:
        return length(self.runs) / FRAMES_PER_SECOND


def label_short(
    pieces: Sequence[Piece], labels: IntArray, *, voices: Float32Array, section_frames: Sequence[int]
) -> IntArray:
    """Return the labels of all pieces.

    pieces: sorted by time. labels: NOBODY for those that are still to be labelled. voices: (number of voices, 192), of
    length 1. section_frames: the first frame of each section.
    """
    labelled = labels.copy()
    middles = np.array(
        [section_frames[piece.section] + (piece.runs[0][0] + piece.runs[-1][1]) / 2 for piece in pieces]
    ) / np.float64(FRAMES_PER_SECOND)
    known = np.flatnonzero(labels != NOBODY)
    own = [
        np.array([index for index in known.tolist() if pieces[index].channel == channel], dtype=np.intp)
        for channel in range(CHANNELS)
    ]
    for index in np.flatnonzero(labels == NOBODY).tolist():
        piece = pieces[index]
        likeness = np.zeros(len(voices), dtype=np.float32)
        if piece.voice_print is not None:
            unit = piece.voice_print / max(float(np.linalg.norm(piece.voice_print)), 1e-9)
            likeness += voices @ unit * min(1.0, piece.seconds / _SURE_SECONDS)
        near = _nearest(middles[own[piece.channel]], middles[index]) if len(own[piece.channel]) else None
        if near is not None and abs(middles[own[piece.channel][near]] - middles[index]) < _STAY_SECONDS:
            likeness[labels[own[piece.channel][near]]] += _STAY
        elif piece.voice_print is None:
            likeness[labels[known[_nearest(middles[known], middles[index])]]] += _STAY
        labelled[index] = likeness.argmax()
    return labelled


def turns(
    activity: UInt8Array, pieces: Sequence[tuple[int, Runs, int]], *, start_frame: int, end_ms: int
) -> Iterator[Turn]:
    """Yield the turns of one section, in no order. pieces: (channel, runs, voice) of all its pieces.

    activity: (n, CHANNELS) of the section. end_ms: of the recording. Speakers are named by the number of their voice.
    """
    owners = np.full(activity.shape, NOBODY, dtype=np.int16)
    for channel, runs, voice in pieces:
        for begin, end in runs:
            owners[begin:end, channel] = voice
    for channel in range(CHANNELS):
        _fill_overlap(owners[:, channel], activity[:, channel] > 0)
    first, second = _in_order(owners, activity)
    _add_neighbours(first, second, is_double=(activity > 0).sum(axis=1) > 1)
    for voices, is_background in ((first, False), (second, True)):
        for voice, begin, end in runs_of(voices):
            start_ms, stop_ms = frame_ms(start_frame + begin), min(frame_ms(start_frame + end), end_ms)
            if voice != NOBODY and start_ms < stop_ms:
                yield Turn(start_ms, stop_ms, speaker_id(voice), is_background=is_background)


def touching(turns: Sequence[Turn], spans: Sequence[tuple[int, int]]) -> list[Turn]:
    """Return the turns that share time with one of some spans, (start_ms, end_ms), sorted and without overlap."""
    ends = [end_ms for _, end_ms in spans]

    def touches(turn: Turn) -> bool:
        after = bisect_right(ends, turn.start_ms)
        return after < len(spans) and spans[after][0] < turn.end_ms

    return [turn for turn in turns if touches(turn)]


def frame_ms(frame: int) -> int:
    """Return where the samples begin that a frame stands for."""
    return samples_to_ms(frame * HOP_SAMPLES + FRAME_OFFSET)


def _fill_overlap(owners: npt.NDArray[np.int16], is_active: npt.NDArray[np.bool_]) -> None:
    """Give active frames without an owner that of the nearest frame with one."""
    known, unknown = np.flatnonzero(owners != NOBODY), np.flatnonzero(is_active & (owners == NOBODY))
    if not len(known) or not len(unknown):
        return
    after = np.clip(np.searchsorted(known, unknown), 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    nearest = known[np.where(np.abs(known[before] - unknown) <= np.abs(known[after] - unknown), before, after)]
    is_near = np.abs(nearest - unknown) <= _OVERLAP_SECONDS * FRAMES_PER_SECOND
    owners[unknown[is_near]] = owners[nearest[is_near]]


def _in_order(
    owners: npt.NDArray[np.int16], activity: UInt8Array
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Return the louder and the other voice of each frame.

    Who of two is louder is decided once for the time that both speak, so that the two do not take turns of a syllable.
    """
    masked = np.where((activity > 0) & (owners != NOBODY), activity, 0)
    order = np.argsort(-masked.astype(np.int16), axis=1, kind="stable")[:, :2]
    found = np.where(np.take_along_axis(masked, order, axis=1) > 0, np.take_along_axis(owners, order, axis=1), NOBODY)
    low, high = found.min(axis=1), found.max(axis=1)
    is_double = (low != NOBODY) & (low != high)
    first = high.copy()
    second = np.full(len(first), NOBODY, dtype=np.int16)
    louder = np.take_along_axis(masked, order, axis=1).astype(np.int32)
    lead = np.where(found[:, 0] == high, 1, -1) * (louder[:, 0] - louder[:, 1])
    for pair, begin, end in runs_of(np.where(is_double, low.astype(np.int32) * 1000 + high, NOBODY)):
        if pair != NOBODY:
            is_high = lead[begin:end].sum() >= 0
            first[begin:end] = high[begin] if is_high else low[begin]
            second[begin:end] = low[begin] if is_high else high[begin]
    return first, second


def _add_neighbours(
    first: npt.NDArray[np.int16], second: npt.NDArray[np.int16], *, is_double: npt.NDArray[np.bool_]
) -> None:
    """Where two channels speak and one voice is known, add the voice that otherwise speaks nearest in time."""
    spoken = [
        (voice, begin, end) for voices in (first, second) for voice, begin, end in runs_of(voices) if voice != NOBODY
    ]
    count = max((voice for voice, _, _ in spoken), default=NOBODY) + 1
    if count < 2:
        return
    starts = [np.array(sorted(begin for voice, begin, _ in spoken if voice == one)) for one in range(count)]
    ends = [np.array(sorted(end for voice, _, end in spoken if voice == one)) for one in range(count)]
    lacking = is_double & (first != NOBODY) & (second == NOBODY)
    for voice, begin, end in runs_of(np.where(lacking, first, NOBODY)):
        if voice == NOBODY:
            continue
        middle = (begin + end) / 2
        distances = [
            np.inf if one == voice or not len(starts[one]) else _distance(middle, starts[one], ends[one])
            for one in range(count)
        ]
        nearest = int(np.argmin(distances))
        if distances[nearest] < _NEIGHBOUR_SECONDS * FRAMES_PER_SECOND:
            second[begin:end] = nearest


def _distance(middle: float, starts: IntArray, ends: IntArray) -> float:
    """Return the distance of a frame from the nearest of some runs, 0 inside of one."""
    after, before = int(np.searchsorted(starts, middle, side="right")), int(np.searchsorted(ends, middle, side="right"))
    if after > before:
        return 0.0
    behind = middle - ends[before - 1] if before else np.inf
    ahead = starts[after] - middle if after < len(starts) else np.inf
    return float(min(behind, ahead))


def _nearest(middles: npt.NDArray[np.float64], middle: float) -> int:
    """Return the index of the nearest of some times, which are sorted."""
    after = int(np.searchsorted(middles, middle))
    sides = [index for index in (after - 1, after) if 0 <= index < len(middles)]
    return min(sides, key=lambda index: abs(float(middles[index]) - middle))
