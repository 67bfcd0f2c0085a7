"""Neural diarization on a CPU, without torch: who speaks when, in any recording, also where two speak at once.

Two networks do the hearing: segmentation-3.0 tells up to three people apart in ten seconds (`segmentation`), and CAM++
makes a voice print of each piece in which one of them speaks alone (`pieces`, `voice_prints`). Pieces with prints that
are alike are one voice (`joining`), and `timeline` makes turns of them. All but the last two steps are done while the
recording is decoded, in the time in which the worker waits for its engine.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from transcription.speech.diarizers import networks
from transcription.speech.diarizers.base import Diarization
from transcription.speech.diarizers.clustering import ClusteringDiarizer
from transcription.speech.errors import EngineUnavailable
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, ms_to_samples, samples_to_ms
from transcription.speech.transcript import Turn, number_by_appearance

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    from transcription.speech.diarizers.pieces import Runs
    from transcription.speech.diarizers.timeline import Piece

    Float32Array = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.intp]
    UInt8Array = npt.NDArray[np.uint8]

logger = logging.getLogger(__name__)

NAME = "neural"
# Clips that are further apart are heard apart. It is the length of the segmentation's window.
SECTION_GAP_MS = 10_000
# In a long speech every third piece of 3 s is heard first.
HEARD_PIECES = 3
# So many are looked for before a number that the customer states is.
MAX_VOICES = 20
# The frames of the segmentation last 17 ms. The rest allows for the times of words, which are less exact.
BOUNDARY_TOLERANCE_MS = 200


class NeuralDiarizer:
    """Implements `diarizers.base.Diarizer`. Without its networks it clusters, and the notes of the result say so."""

    name = NAME

    def __init__(self, *, folder: Path = networks.FOLDER) -> None:
        """folder: of the networks that `begin` looks for."""
        self._folder = folder

    def begin(self, *, options: TranscriptionOptions) -> Diarization:
        """Load the networks, on the first call of a process, and start a diarization."""
        try:
            networks.load(folder=self._folder)
        except EngineUnavailable as error:
            logger.exception("%s Speakers are told apart by clustering.", error.message)
            simpler = ClusteringDiarizer().begin(options=options)
            simpler.notes = (
                f"The speakers of this recording were told apart by a simpler method: {NAME} is not there.",
            )
            return simpler
        min_speakers, max_speakers = options.speaker_bounds
        return NeuralDiarization(min_speakers=min_speakers, max_speakers=max_speakers)


class NeuralDiarization:
    """Implements `diarizers.base.Diarization`.

    Hears the whole recording if it is given it, else the clips with silence between them. Its network has never heard
    silence without any noise, and then takes pauses for speech: in a recording with hiss a third of all time. Keeps
    about 40 s of samples, and for each hour 0.6 MB of activity and 1 MB of voice prints.
    """

    name = NAME
    notes: tuple[str, ...] = ()
    boundary_tolerance_ms = BOUNDARY_TOLERANCE_MS

    def __init__(self, *, min_speakers: int = 1, max_speakers: int = 20) -> None:
        self._min_speakers, self._max_speakers = min_speakers, max_speakers
        self._section: _Section | None = None
        self._heard: list[tuple[int, UInt8Array]] = []  # (first frame, activity) of each section
        self._pieces: list[Piece] = []
        self._end_ms = 0  # of what was heard
        self._spans: list[tuple[int, int]] = []  # (start_ms, end_ms) of the clips

    def hear(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.hear`."""
        if start_ms - self._end_ms >= SECTION_GAP_MS:
            self._end_section()
        if self._section is None:
            self._section = _Section(start_ms, number=len(self._heard), pieces=self._pieces)
        self._section.add(start_ms, samples)
        self._end_ms = start_ms + samples_to_ms(len(samples))

    def add(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.add`."""
        end_ms = start_ms + samples_to_ms(len(samples))
        if end_ms > self._end_ms:
            self.hear(start_ms, samples)
        self._spans.append((start_ms, end_ms))

    def turns(self) -> list[Turn]:
        """See `Diarization.turns`."""
        from transcription.speech.diarizers import timeline

        if not self._spans:
            return []
        self._end_section()
        labels = self._labels()
        spoken: list[list[tuple[int, Runs, int]]] = [[] for _ in self._heard]
        for piece, label in zip(self._pieces, labels, strict=True):
            spoken[piece.section].append((piece.channel, piece.runs, label))
        found = [
            turn
            for pieces, (first, activity) in zip(spoken, self._heard, strict=True)
            for turn in timeline.turns(activity, pieces, start_frame=first, end_ms=self._end_ms)
        ]
        # Somebody without a word is nobody. Words where the network hears nobody were said by one person.
        found = timeline.touching(found, self._spans)
        return number_by_appearance(found or [Turn(*span, "S1") for span in self._spans])

    def _end_section(self) -> None:
        if self._section is not None:
            self._heard.append(self._section.finish())
            self._section = None

    def _labels(self) -> list[int]:
        """Return the person of every piece."""
        import numpy as np

        from transcription.speech.diarizers import joining, timeline

        prints = {index: piece.voice_print for index, piece in enumerate(self._pieces) if piece.voice_print is not None}
        joined = [index for index in prints if self._pieces[index].seconds >= timeline.MIN_JOINED_SECONDS]
        joined = joined if len(joined) >= max(1, self._min_speakers) else list(prints)
        if not joined:
            return [0] * len(self._pieces)
        lengths = np.array([piece.seconds for piece in self._pieces], dtype=np.float32)
        compared = [
            index
            for index in prints
            if self._pieces[index].is_heard and lengths[index] >= timeline.MIN_COMPARED_SECONDS
        ]
        made, seconds = np.stack([prints[index] for index in joined]), lengths[joined]
        limit = joining.limit_of(np.array([prints[index] for index in compared]), lengths[compared])
        voices = joining.join(made, seconds, limit=limit, min_voices=1, max_voices=max(self._max_speakers, MAX_VOICES))
        tops = np.array([self._pieces[index].top for index in joined])
        people = joining.across_bands(voices, networks.without_channel(made), seconds, tops=tops)
        if not self._min_speakers <= len(set(people.tolist())) <= self._max_speakers:
            low, high = self._min_speakers, self._max_speakers
            voices = joining.join(made, seconds, limit=limit, min_voices=low, max_voices=high)
            people = np.arange(len(voices.voices))
        labels = np.full(len(self._pieces), timeline.NOBODY, dtype=np.intp)
        labels[joined] = voices.labels
        firsts = [first for first, _ in self._heard]
        labelled = timeline.label_short(self._pieces, labels, voices=voices.voices, section_frames=firsts)
        return [int(people[label]) for label in labelled]


class _Section:
    """A part of a recording without a long pause. Its clips are at their place in time, with silence between them."""

    def __init__(self, start_ms: int, *, number: int, pieces: list[Piece]) -> None:
        """number: of the section in the recording. pieces: where those that are found are added."""
        from transcription.speech.diarizers.pieces import PieceCutter
        from transcription.speech.diarizers.segmentation import HOP_SAMPLES, Segmentation

        self._number, self._pieces = number, pieces
        self._first_frame = ms_to_samples(start_ms) // HOP_SAMPLES
        self._track = _Track(ms_to_samples(start_ms) - self._first_frame * HOP_SAMPLES)
        self._origin = self._first_frame * HOP_SAMPLES
        self._segmentation = Segmentation(networks.segment, read=self._track.read)
        self._cutter = PieceCutter()
        self._activity: list[UInt8Array] = []

    def add(self, start_ms: int, samples: Samples) -> None:
        self._track.write(ms_to_samples(start_ms) - self._origin, samples)
        self._follow(self._segmentation.advance(self._track.end))

    def finish(self) -> tuple[int, UInt8Array]:
        """Return (first frame in the recording, activity: (n, 3))."""
        import numpy as np

        self._follow(self._segmentation.finish(self._track.end))
        self._keep(self._cutter.finish())
        return self._first_frame, np.concatenate(self._activity)

    def _follow(self, blocks: Iterable[UInt8Array]) -> None:
        from transcription.speech.diarizers.segmentation import HOP_SAMPLES

        for activity in blocks:
            self._activity.append(activity)
            self._keep(self._cutter.feed(activity))
            self._track.drop_before(min(self._segmentation.next_sample, self._cutter.first_frame * HOP_SAMPLES))

    def _keep(self, found: Iterable[tuple[int, list[Runs]]]) -> None:
        for channel, parts in found:
            self._pieces += self._pieces_of(channel, parts)

    def _pieces_of(self, channel: int, parts: list[Runs]) -> list[Piece]:
        """Return the pieces of one speech with their prints.

        Parts between two that are alike are not heard; they get the sum of these.
        """
        from transcription.speech.diarizers import joining
        from transcription.speech.diarizers.timeline import Piece

        chosen = sorted({*range(0, len(parts), HEARD_PIECES), len(parts) - 1})
        found = {index: self._hear(channel, parts[index]) for index in chosen}
        for first, last in pairwise(chosen):
            between = joining.common(found[first][-1].voice_print, found[last][0].voice_print)
            for index in range(first + 1, last):
                if between is None:
                    found[index] = self._hear(channel, parts[index])
                else:
                    found[index] = [Piece(self._number, channel, parts[index], between, is_heard=False)]
        return [piece for index in range(len(parts)) for piece in found[index]]

    def _hear(self, channel: int, runs: Runs) -> list[Piece]:
        """Return the speech of these frames with its print, in parts if its voice changes at a pause."""
        import numpy as np

        from transcription.speech.diarizers import voice_prints
        from transcription.speech.diarizers.segmentation import FRAME_OFFSET, HOP_SAMPLES
        from transcription.speech.diarizers.timeline import Piece
        from transcription.speech.samples import SAMPLE_RATE

        # Cut out and joined. To mask frames inside the network instead lets the voices around leak in.
        cut_out = [
            self._track.read(begin * HOP_SAMPLES + FRAME_OFFSET, (end - begin) * HOP_SAMPLES) for begin, end in runs
        ]
        said = np.concatenate(cut_out)
        if len(said) < voice_prints.MIN_SECONDS * SAMPLE_RATE:
            return [Piece(self._number, channel, runs, None)]
        pauses = np.cumsum([len(run) for run in cut_out])[:-1].tolist()
        voice_print, top, change = voice_prints.hear(said, pauses=pauses)
        if change is None:
            return [Piece(self._number, channel, runs, voice_print, top=top)]
        return [*self._hear(channel, runs[: change + 1]), *self._hear(channel, runs[change + 1 :])]


class _Track:
    """The newest samples of a section, silent where none were written. first: the first sample that matters."""

    def __init__(self, first: int) -> None:
        import numpy as np

        self._samples: Samples = np.zeros(first, dtype=np.float32)
        self._first = 0

    @property
    def end(self) -> int:
        return self._first + len(self._samples)

    def write(self, at: int, samples: Samples) -> None:
        """Append samples at a place in the section. What is written already stays."""
        import numpy as np

        gap = np.zeros(max(0, at - self.end), dtype=np.float32)
        self._samples = np.concatenate([self._samples, gap, samples[max(0, self.end - at) :]])

    def read(self, first: int, count: int) -> Samples:
        """Return samples that were not dropped, with silence beyond the end."""
        import numpy as np

        found = self._samples[max(0, first - self._first) : max(0, first + count - self._first)]
        return np.pad(found, (0, count - len(found)))

    def drop_before(self, first: int) -> None:
        """Forget earlier samples."""
        dropped = min(max(0, first - self._first), len(self._samples))
        if dropped:
            self._samples = self._samples[dropped:].copy()
            self._first += dropped
