"""Tells speakers apart by the sound of their voices, on any machine: no model, no download.

Speech is cut at pauses, and inside a stretch where the voice clearly changes; what sounds alike is then joined until
the voices that are left are too far apart (see `voices`). Good for a few different voices in clean recordings; no
overlap, no recognition of a voice across recordings. docs/quality.md has its figures.
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

    from transcription.speech.diarizers.voices import Matrix, Sound

# Nobody's turn is cut finer than this.
PIECE_FRAMES = 150
# A pause inside a clip where speakers may change.
PAUSE_FRAMES = 20
# A stretch with less voice than this is too noisy to vote; it gets the most likely speaker afterwards.
MIN_VOICED_FRAMES = 50
# Distances, in log likelihood per frame, from which two stretches are two speakers, and neighbours inside a stretch.
# Higher inside a stretch: people pause between turns nearly always. Chosen on 166 made dialogues of four flite voices.
APART = 4.0
APART_INSIDE = 6.0
# Joining is quadratic: 600 stretches (half an hour of talk) take a second or two. Longer recordings are sampled evenly.
MAX_CLUSTERED = 600


@dataclass(frozen=True, slots=True)
class _Piece:
    """stretch: number of the stretch between pauses that it is part of."""

    stretch: int
    start_ms: int
    end_ms: int
    sound: Sound


class ClusteringDiarizer:
    """Implements `diarizers.base.Diarizer`."""

    name = "clustering"

    def begin(self, *, options: TranscriptionOptions) -> ClusteringDiarization:
        fewest, most = options.speaker_bounds
        return ClusteringDiarization(fewest=fewest, most=most)


class ClusteringDiarization:
    """Implements `diarizers.base.Diarization`; keeps about a kilobyte for every 1.5 s of speech."""

    name = "clustering"
    notes: tuple[str, ...] = ()
    edge_ms = 800  # about half a piece

    def __init__(self, *, fewest: int = 1, most: int = 20) -> None:
        self._fewest, self._most = fewest, most
        self._pieces: list[_Piece] = []
        self._stretch_count = 0

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
                        sound=voices.sound(frames[first:last][is_voiced[first:last]]),
                    )
                )
            self._stretch_count += 1

    def turns(self) -> list[Turn]:
        """See `Diarization.turns`."""
        from transcription.speech.diarizers import voices

        if not self._pieces:
            return []
        usual = voices.usual([piece.sound for piece in self._pieces])
        parts: list[list[_Piece]] = []
        for _, stretch in groupby(self._pieces, key=lambda piece: piece.stretch):
            parts.extend(_voices_inside(list(stretch), usual=usual))
        if len(parts) < self._fewest:
            parts = [[piece] for piece in self._pieces]
        labels = _labels(
            [voices.joined([piece.sound for piece in part]) for part in parts],
            usual=usual,
            fewest=self._fewest,
            most=self._most,
        )
        turns = [
            Turn(part[0].start_ms, part[-1].end_ms, speaker_id(label))
            for part, label in zip(parts, labels, strict=True)
        ]
        return number_by_appearance(_joined(turns))


def _voices_inside(stretch: list[_Piece], *, usual: Matrix) -> list[list[_Piece]]:
    """Return the pieces of a stretch without a pause, cut where another voice goes on."""
    from transcription.speech.diarizers import voices

    parts = [[piece] for piece in stretch]
    while len(parts) > 1:
        heard = voices.Voices([voices.joined([piece.sound for piece in part]) for part in parts], usual=usual)
        steps = [float(heard.distances(index, [index + 1])[0]) for index in range(len(parts) - 1)]
        nearest = min(range(len(steps)), key=lambda index: steps[index])
        if steps[nearest] >= APART_INSIDE:
            break
        parts[nearest : nearest + 2] = [parts[nearest] + parts[nearest + 1]]
    return parts


def _labels(sounds: list[Sound], *, usual: Matrix, fewest: int, most: int) -> list[int]:
    """Return the speaker number of every sound."""
    from transcription.speech.diarizers import voices

    sure = [index for index, sound in enumerate(sounds) if sound.count >= MIN_VOICED_FRAMES]
    sure = sure if len(sure) >= fewest else list(range(len(sounds)))
    sure = sure[:: -(-len(sure) // MAX_CLUSTERED)]
    sample = [sounds[index] for index in sure]
    groups = voices.grouped(sample, usual=usual, fewest=fewest, most=most, apart=APART)
    speakers = voices.Voices([voices.joined([sample[index] for index in group]) for group in groups], usual=usual)
    likely = speakers.likelihoods(voices.Voices(sounds, usual=usual)).argmax(axis=1)
    labels = [int(label) for label in likely]
    for number, group in enumerate(groups):
        for index in group:
            labels[sure[index]] = number
    return labels


def _stretches(is_voiced: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches between pauses as (first frame, frame after the last), touching, covering every frame."""
    import numpy as np

    voiced = np.flatnonzero(is_voiced)
    cuts = [(before + after + 1) // 2 for before, after in pairwise(voiced.tolist()) if after - before > PAUSE_FRAMES]
    edges = [0, *cuts, len(is_voiced)]
    return list(pairwise(edges))


def _joined(turns: list[Turn]) -> list[Turn]:
    """Return the turns with touching ones of the same speaker made one."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and joined[-1].end_ms >= turn.start_ms:
            joined[-1] = Turn(joined[-1].start_ms, turn.end_ms, turn.speaker)
        else:
            joined.append(turn)
    return joined
