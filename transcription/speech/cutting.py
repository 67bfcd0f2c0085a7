"""Cuts a recording into clips of speech, without silence, and at pauses wherever there is one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from transcription.speech import levelling, vad
from transcription.speech.samples import Samples, ms_to_samples, samples_to_ms

# For callers without an engine. Each engine states its own (`engines/base.py`), and the product uses those.
MAX_CLIP_MS = 30_000
PAUSE_MS = 600

# Silero's two defaults: a frame of 0.35 is speech if some frame is at least 0.5 before the next pause. In Silero's own
# loop that frame must come first: "ask" in Kennedy's "ask not" stays below 0.5, and "not" does not.
SURE_SPEECH_SCORE = 0.5
SPEECH_SCORE = 0.35
# Kept before and after speech, so that soft beginnings and ends of words are not cut off.
PAD_MS = 200
# Shorter speech than this is a click.
MIN_SPEECH_MS = 100
# A clip without a pause is cut where speech is least likely, but only in its last two thirds, so that clips stay long.
_MIN_CUT_POSITION = 1 / 3
_SMOOTH_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Clip:
    """One or more stretches of speech, joined without the silence between them: the input of an engine.

    starts: (milliseconds into the clip, milliseconds into the recording) of each stretch, in order.
    """

    samples: Samples
    starts: tuple[tuple[int, int], ...]

    @property
    def start_ms(self) -> int:
        return self.starts[0][1]

    @property
    def end_ms(self) -> int:
        offset_ms, start_ms = self.starts[-1]
        return start_ms + samples_to_ms(len(self.samples)) - offset_ms

    def stretches(self) -> Iterator[tuple[int, Samples]]:
        """Yield (start in the recording in ms, samples) of each stretch. The samples are views."""
        offsets = [ms_to_samples(offset_ms) for offset_ms, _ in self.starts] + [len(self.samples)]
        for (_, start_ms), (begin, end) in zip(self.starts, pairwise(offsets), strict=True):
            yield start_ms, self.samples[begin:end]

    def without(self, spans: Sequence[tuple[int, int]], *, min_ms: int) -> Clip | None:
        """Return a clip of the stretches that share no time with any span, None without one of at least `min_ms`.

        spans: (start_ms, end_ms) in the recording. Padding around the speech counts for the length, and not as shared.
        """
        left = []
        for start_ms, samples in self.stretches():
            end_ms = start_ms + samples_to_ms(len(samples))
            is_long = end_ms - start_ms >= min_ms
            if is_long and not any(first < end_ms - PAD_MS and last > start_ms + PAD_MS for first, last in spans):
                left.append(_Stretch(start_ms, samples))
        return _join(left) if left else None

    def place(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Convert times in the clip to times in the recording, both inside the stretch that holds their middle."""
        middle_ms = (start_ms + end_ms) // 2
        index = max(0, bisect_right(self.starts, middle_ms, key=lambda start: start[0]) - 1)
        offset_ms, begin_ms = self.starts[index]
        following = self.starts[index + 1][0] if index + 1 < len(self.starts) else samples_to_ms(len(self.samples))
        length_ms = following - offset_ms
        placed = (begin_ms + min(max(0, one - offset_ms), length_ms) for one in (start_ms, end_ms))
        first, last = placed
        return first, max(first, last)


def clips(
    windows: Iterable[Samples], *, max_clip_ms: int = MAX_CLIP_MS, pause_ms: int = PAUSE_MS, packed_ms: int = 0
) -> Iterator[Clip]:
    """Yield clips of speech, in order and without overlap, each at most `max_clip_ms` long.

    windows: consecutive arrays, as `audio.windows` yields them.
    pause_ms: silence of this length ends a stretch. Shorter silence stays inside it.
    packed_ms: put as many stretches into a clip as fit into this length. For engines that need as long for a short clip
        as for one of this length. A longer stretch is a clip of its own. All speech of a recording is one clip if it
        fits into `max_clip_ms`, since an engine errs least when it hears everything.
    """
    stretches = _stretches(_Cutter(max_clip_ms=max_clip_ms, pause_ms=pause_ms), windows)
    begun, is_all = _begun(stretches, max_samples=ms_to_samples(max_clip_ms) if packed_ms else 0)
    if is_all:
        if begun:
            yield _join(begun)
        return
    waiting: list[_Stretch] = []
    waiting_samples = 0
    for stretch in chain(begun, stretches):
        if waiting and waiting_samples + len(stretch.samples) > ms_to_samples(packed_ms):
            yield _join(waiting)
            waiting, waiting_samples = [], 0
        waiting.append(stretch)
        waiting_samples += len(stretch.samples)
    if waiting:
        yield _join(waiting)


@dataclass(frozen=True, slots=True)
class _Stretch:
    start_ms: int
    samples: Samples


def _stretches(cutter: _Cutter, windows: Iterable[Samples]) -> Iterator[_Stretch]:
    for window in windows:
        yield from cutter.feed(window)
    yield from cutter.finish()


def _begun(stretches: Iterator[_Stretch], *, max_samples: int) -> tuple[list[_Stretch], bool]:
    """Return the first stretches, up to the one with which they are too long, and whether all are there and fit."""
    begun: list[_Stretch] = []
    count = 0
    for stretch in stretches:
        begun.append(stretch)
        count += len(stretch.samples)
        if count > max_samples:
            return begun, False
    return begun, bool(max_samples)


def _join(stretches: list[_Stretch]) -> Clip:
    import numpy as np

    starts = []
    offset = 0
    for stretch in stretches:
        starts.append((samples_to_ms(offset), stretch.start_ms))
        offset += len(stretch.samples)
    return Clip(samples=np.concatenate([stretch.samples for stretch in stretches]), starts=tuple(starts))


class _Cutter:
    """Finds stretches of speech. Holds the samples that are still undecided, at most about one clip.

    The detector hears a levelled copy. The stretches have the samples as they were recorded.
    """

    def __init__(self, *, max_clip_ms: int, pause_ms: int) -> None:
        import numpy as np

        self._leveller = levelling.Leveller()
        self._detector = vad.SpeechDetector()
        self._pad = max(1, PAD_MS // vad.FRAME_MS)
        self._max_frames = max(4 * self._pad, max_clip_ms // vad.FRAME_MS)
        self._pause = min(max(self._pad * 2, pause_ms // vad.FRAME_MS), self._max_frames // 2)
        self._rest: Samples = np.zeros(0, dtype=np.float32)
        self._frames: list[Samples] = []  # the first of them is frame number _first
        self._scores: list[float] = []
        self._first = 0
        self._speech: int | None = None  # number of the first frame of the current stretch, without padding
        self._last_speech = 0  # number of the last frame with speech
        self._is_sure = False  # whether a frame of the current stretch is surely speech

    def feed(self, window: Samples) -> Iterator[_Stretch]:
        import numpy as np

        joined = np.concatenate([self._rest, window])
        whole = len(joined) - len(joined) % vad.FRAME_SAMPLES
        self._rest = joined[whole:].copy()
        yield from self._take(joined[:whole])

    def finish(self) -> Iterator[_Stretch]:
        yield from self._take(self._rest)
        if self._speech is not None:
            yield from self._emit(end=self._first + len(self._frames))

    def _take(self, samples: Samples) -> Iterator[_Stretch]:
        scores = self._detector.score(self._leveller.level(samples))
        for index, score in enumerate(scores.tolist()):
            self._frames.append(samples[index * vad.FRAME_SAMPLES : (index + 1) * vad.FRAME_SAMPLES])
            self._scores.append(score)
            yield from self._step(self._first + len(self._frames) - 1, score)
        # A view keeps its whole window in memory: copy the few frames that are kept.
        self._frames = [frame.copy() if frame.base is not None else frame for frame in self._frames]

    def _step(self, number: int, score: float) -> Iterator[_Stretch]:
        if score >= SPEECH_SCORE:
            if self._speech is None:
                self._speech = number
            self._last_speech = number
            self._is_sure = self._is_sure or score >= SURE_SPEECH_SCORE
        if self._speech is None:
            self._drop_before(number - self._pad + 1)
        elif number - self._last_speech >= self._pause:
            yield from self._emit(end=self._last_speech + 1 + self._pad)
        elif len(self._frames) >= self._max_frames:
            yield from self._emit(end=self._quietest())

    def _quietest(self) -> int:
        """Return the number of the frame at which to cut a stretch that has no pause."""
        import numpy as np

        scores = np.convolve(self._scores, np.ones(_SMOOTH_FRAMES) / _SMOOTH_FRAMES, mode="same")
        start = int(len(scores) * _MIN_CUT_POSITION)
        stop = len(scores) - _SMOOTH_FRAMES
        return self._first + start + int(np.argmin(scores[start:stop]))

    def _emit(self, *, end: int) -> Iterator[_Stretch]:
        """Yield the stretch up to frame `end`, unless it is a click or unsure, and keep the frames after it."""
        import numpy as np

        assert self._speech is not None, "called only while a stretch is open"
        begin = max(self._first, self._speech - self._pad)
        frames = self._frames[begin - self._first : end - self._first]
        spoken = sum(score >= SPEECH_SCORE for score in self._scores[begin - self._first : end - self._first])
        if self._is_sure and spoken * vad.FRAME_MS >= MIN_SPEECH_MS:
            yield _Stretch(start_ms=begin * vad.FRAME_MS, samples=np.concatenate(frames))
        is_cut_inside = self._last_speech >= end
        self._drop_before(end)
        self._speech = end if is_cut_inside else None
        self._is_sure = self._is_sure and is_cut_inside

    def _drop_before(self, number: int) -> None:
        drop = number - self._first
        if drop > 0:
            del self._frames[:drop], self._scores[:drop]
            self._first = number
