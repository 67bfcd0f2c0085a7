"""Diarization by clustering the sound of voices. Runs on any machine: no model, no download.

Speech is cut at pauses, and inside a stretch where the voice clearly changes. Parts that sound alike are then merged
until the remaining voices are too far apart (see `voices`). The method is good for a few different voices in clean
recordings. It finds no overlapping speech and recognises no voice across recordings. docs/quality.md has its figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import Turn, number_by_appearance, speaker_id

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from transcription.speech.diarizers.voices import Matrix, VoiceStatistics

# Length of the pieces that stretches are cut into. A turn is never shorter than one piece.
PIECE_FRAMES = 150
# A pause inside a clip where the speaker may change.
PAUSE_FRAMES = 20
# A part with fewer voiced frames is too noisy for clustering. It gets the most likely speaker afterwards.
MIN_VOICED_FRAMES = 50
# Distances, in log likelihood per frame, from which two parts are two speakers; the second for neighbours that no pause
# separates. The second is higher, because nearly all speakers pause between turns. Both were chosen on 166 generated
# dialogues of four flite voices.
SPEAKER_THRESHOLD = 4.0
SPEAKER_THRESHOLD_WITHOUT_PAUSE = 6.0
# Clustering is quadratic: 600 parts (half an hour of talk) take a second or two. Longer recordings are sampled evenly.
MAX_CLUSTERED = 600


@dataclass(frozen=True, slots=True)
class _Piece:
    """A short piece of speech. stretch: number of the stretch between two pauses that it belongs to."""

    stretch: int
    start_ms: int
    end_ms: int
    voice: VoiceStatistics


class ClusteringDiarizer:
    """Implements `diarizers.base.Diarizer`."""

    name = "clustering"

    def begin(self, *, options: TranscriptionOptions) -> ClusteringDiarization:
        min_speakers, max_speakers = options.speaker_bounds
        return ClusteringDiarization(min_speakers=min_speakers, max_speakers=max_speakers)


class ClusteringDiarization:
    """Implements `diarizers.base.Diarization`. Keeps about a kilobyte for every 1.5 s of speech."""

    name = "clustering"
    notes: tuple[str, ...] = ()
    boundary_tolerance_ms = 800  # about half a piece

    def __init__(self, *, min_speakers: int = 1, max_speakers: int = 20, max_clustered: int = MAX_CLUSTERED) -> None:
        self._min_speakers, self._max_speakers = min_speakers, max_speakers
        self._max_clustered = max_clustered
        self._pieces: list[_Piece] = []
        self._stretch_count = 0

    def hear(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.hear`: only clips matter here."""

    def add(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.add`."""
        import numpy as np

        from transcription.speech.diarizers import cepstra, voices

        frames, is_voiced = cepstra.frames(samples)
        length_ms = samples_to_ms(len(samples))
        for begin, end in _stretches(is_voiced):
            parts = max(1, round((end - begin) / PIECE_FRAMES))
            for first, last in pairwise(np.linspace(begin, end, parts + 1).astype(int).tolist()):
                end_ms = length_ms if last == len(frames) else last * cepstra.FRAME_MS
                self._pieces.append(
                    _Piece(
                        stretch=self._stretch_count,
                        start_ms=start_ms + first * cepstra.FRAME_MS,
                        end_ms=start_ms + end_ms,
                        voice=voices.statistics(frames[first:last][is_voiced[first:last]]),
                    )
                )
            self._stretch_count += 1

    def turns(self) -> list[Turn]:
        """See `Diarization.turns`."""
        from transcription.speech.diarizers import voices

        if not self._pieces:
            return []
        pooled = voices.pooled_covariance([piece.voice for piece in self._pieces])
        parts: list[list[_Piece]] = []
        for _, stretch in groupby(self._pieces, key=lambda piece: piece.stretch):
            parts.extend(_split_by_voice(list(stretch), pooled_covariance=pooled))
        if len(parts) < self._min_speakers:
            parts = [[piece] for piece in self._pieces]
        labels = _label(
            [voices.merge([piece.voice for piece in part]) for part in parts],
            pooled_covariance=pooled,
            min_speakers=self._min_speakers,
            max_speakers=self._max_speakers,
            max_clustered=self._max_clustered,
        )
        turns = [
            Turn(part[0].start_ms, part[-1].end_ms, speaker_id(label))
            for part, label in zip(parts, labels, strict=True)
        ]
        return number_by_appearance(_merge_touching(turns))


def _split_by_voice(stretch: list[_Piece], *, pooled_covariance: Matrix) -> list[list[_Piece]]:
    """Return the pieces of a stretch without a pause, split where the voice changes."""
    from transcription.speech.diarizers import voices

    parts = [[piece] for piece in stretch]
    while len(parts) > 1:
        candidates = voices.Voices(
            [voices.merge([piece.voice for piece in part]) for part in parts], pooled_covariance=pooled_covariance
        )
        distances = [float(candidates.distances(index, [index + 1])[0]) for index in range(len(parts) - 1)]
        nearest = min(range(len(distances)), key=lambda index: distances[index])
        if distances[nearest] >= SPEAKER_THRESHOLD_WITHOUT_PAUSE:
            break
        parts[nearest : nearest + 2] = [parts[nearest] + parts[nearest + 1]]
    return parts


def _label(
    parts: list[VoiceStatistics],
    *,
    pooled_covariance: Matrix,
    min_speakers: int,
    max_speakers: int,
    max_clustered: int,
) -> list[int]:
    """Return the speaker number of every part."""
    from transcription.speech.diarizers import voices

    clustered = [index for index, part in enumerate(parts) if part.count >= MIN_VOICED_FRAMES]
    clustered = clustered if len(clustered) >= min_speakers else list(range(len(parts)))
    clustered = clustered[:: -(-len(clustered) // max_clustered)]
    sample = [parts[index] for index in clustered]
    groups = voices.cluster(
        sample,
        pooled_covariance=pooled_covariance,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        threshold=SPEAKER_THRESHOLD,
    )
    speakers = voices.Voices(
        [voices.merge([sample[index] for index in group]) for group in groups], pooled_covariance=pooled_covariance
    )
    likely = speakers.likelihoods(voices.Voices(parts, pooled_covariance=pooled_covariance)).argmax(axis=1)
    labels = [int(label) for label in likely]
    for number, group in enumerate(groups):
        for index in group:
            labels[clustered[index]] = number
    return labels


def _stretches(is_voiced: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches between pauses as (first frame, frame after the last). They touch and cover every frame."""
    import numpy as np

    voiced = np.flatnonzero(is_voiced)
    cuts = [(before + after + 1) // 2 for before, after in pairwise(voiced.tolist()) if after - before > PAUSE_FRAMES]
    edges = [0, *cuts, len(is_voiced)]
    return list(pairwise(edges))


def _merge_touching(turns: list[Turn]) -> list[Turn]:
    """Return the turns, with touching ones of the same speaker merged."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].speaker == turn.speaker and merged[-1].end_ms >= turn.start_ms:
            merged[-1] = Turn(merged[-1].start_ms, turn.end_ms, turn.speaker)
        else:
            merged.append(turn)
    return merged
