"""Runs a diarization in a thread of its own, so that recognition does not wait for it.

The diarization gets the same calls in the same order as without the thread, so its turns are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from transcription.speech.diarizers.base import Diarization, Diarizer
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples
from transcription.speech.transcript import Turn

# Calls that may wait for the thread, each with at most 30 s of samples (2 MB).
MAX_WAITING = 8
THREAD_NAME = "diarization"


class BackgroundDiarization:
    """Implements `diarizers.base.Diarization`. Close it at the end of the recording, whatever happened.

    An exception of the diarizer is raised by the first call that finds it, in the thread of the caller.
    """

    def __init__(self, diarizer: Diarizer, *, options: TranscriptionOptions, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=THREAD_NAME)
        # Networks are loaded there, too: the first clip reaches the engine half a second earlier.
        self._begun: Future[Diarization] = self._thread.submit(diarizer.begin, options=options)
        self._waiting: deque[Future[None]] = deque()

    @property
    def name(self) -> str:
        return self._begun.result().name

    @property
    def notes(self) -> tuple[str, ...]:
        return self._begun.result().notes

    @property
    def boundary_tolerance_ms(self) -> int:
        return self._begun.result().boundary_tolerance_ms

    def hear(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.hear`. Waits only if `max_waiting` calls are not done. The samples must not change."""
        self._submit(lambda diarization: diarization.hear(start_ms, samples))

    def add(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.add`, and `hear`."""
        self._submit(lambda diarization: diarization.add(start_ms, samples))

    def turns(self) -> list[Turn]:
        """See `Diarization.turns`. Waits for all calls before it."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._begun.result().turns()

    def close(self) -> None:
        """End the thread. Calls that wait are dropped; the one that runs is waited for."""
        wait([self._begun])  # `name` still needs its result
        self._thread.shutdown(cancel_futures=True)

    def _submit(self, call: Callable[[Diarization], None]) -> None:
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= self._max_waiting):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._run, call))

    def _run(self, call: Callable[[Diarization], None]) -> None:
        call(self._begun.result())
