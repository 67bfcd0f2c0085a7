"""The service that recognises clips. One thread prepares clips, another recognises batches with clips of all jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from transcription.speech.engines import protocol
from transcription.speech.engines.base import BatchEngine, Recognition
from transcription.speech.engines.batching import ClipQueue, QueuedClip
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.service import BUSY, Request, SendAnswer
from transcription.speech.errors import EngineFailed, EngineUnavailable, OptionError, SpeechError
from transcription.speech.options import TranscriptionOptions

logger = logging.getLogger(__name__)

# A batch that takes longer is stuck in native code. The process ends then, and the supervisor starts a new one.
STUCK_SECONDS = 1800.0
# After running out of memory, this many batches are half as large. Then the size doubles again.
REDUCED_BATCHES = 50
SPEED_WINDOW_SECONDS = 60.0
# A clip that comes from another process counts as waiting since then, but for no longer than this.
MAX_WAITED_MS = 3_600_000


class Recogniser:
    """Implements `service.Service` for requests of kind "recognise"."""

    kind = "recognise"
    max_frame_bytes = protocol.MAX_CLIP_BYTES

    def __init__(self, models: ModelCache, *, max_queued: int = 256, max_batch: int = 0) -> None:
        """max_batch: upper limit for the batches of engines; 0 means their own."""
        self._models = models
        self._queue = ClipQueue(max_queued=max_queued)
        self._changed = threading.Condition()
        self._to_preload: set[str] = {models.default}
        self._is_stopping = False
        self._is_ready = False
        self._max_batch = max_batch
        self._reduced_batches_left = 0
        self._batch_since: float | None = None
        self._counts = Counter(
            requests=0, clips=0, audio_ms=0, busy_ms=0, failures=0, dropped=0, released=0, out_of_memory=0
        )
        self._batch_sizes: Counter[int] = Counter()
        self._recent: deque[tuple[float, int]] = (
            deque()
        )  # (time, milliseconds of audio) of each clip of the last minute
        self._answer: SendAnswer = lambda *_: None
        self._fail: Callable[[BaseException], None] = lambda _: None
        self._threads: list[threading.Thread] = []

    def start(self, answer: SendAnswer, fail: Callable[[BaseException], None]) -> None:
        self._answer, self._fail = answer, fail
        for name, target in (("prepare", self._prepare_loop), ("compute", self._recognise_loop)):
            thread = threading.Thread(target=self._run_thread, args=(target,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait until the current batch is done. There is none before the first model is loaded."""
        if not self._is_ready:
            return
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def submit(self, request: Request) -> dict[str, Any] | None:
        """See `Service.submit`."""
        protocol.check_clip(request.frames)
        priority = str(request.message.get("priority") or "standard")
        model = str(request.message.get("model") or self._models.default)
        if priority not in protocol.PRIORITIES:
            raise OptionError("Unknown priority.", param="priority")
        if not self._models.has_model(model):
            raise EngineUnavailable(f"There is no model {model!r} here.")
        options = TranscriptionOptions.from_dict(request.message.get("options") or {})
        waited_seconds = min(MAX_WAITED_MS, max(0, int(request.message.get("waited_ms") or 0))) / 1000
        with self._changed:
            if not self._queue.has_space(priority=priority):
                return BUSY
            self._counts["requests"] += 1
            self._queue.put(
                QueuedClip(
                    id=request.id,
                    job=request.job,
                    priority=priority,
                    model=model,
                    options=options,
                    frame=request.frames[0],
                    arrived_at=time.monotonic() - waited_seconds,
                )
            )
            self._changed.notify_all()
        return None

    def preload(self, model: str) -> None:
        """Start to load the model in the background, if it is known and not loaded: a request will follow."""
        with self._changed:
            if self._models.has_model(model) and self._models.describe(model) is None:
                self._to_preload.add(model)
                self._changed.notify_all()

    def cancel(self, ids: Iterable[str]) -> None:
        """See `Service.cancel`."""
        with self._changed:
            self._counts["dropped"] += len(self._queue.remove(ids))

    def release(self, ids: Iterable[str]) -> dict[str, int]:
        """Give up the clips that are in no batch yet, for another process. Unknown ids are ignored.

        Returns how many milliseconds each has waited, by its id.
        """
        with self._changed:
            released = self._queue.remove(ids)
            self._counts["released"] += len(released)
        now = time.monotonic()
        return {clip.id: round((now - clip.arrived_at) * 1000) for clip in released}

    def health(self) -> dict[str, Any]:
        """See `Service.health`. Ends the process (`fail`) when a batch is stuck."""
        since, now = self._batch_since, time.monotonic()
        if since is not None and now - since > STUCK_SECONDS:
            self._fail(EngineUnavailable("A batch is stuck in native code."))
        with self._changed:
            while self._recent and self._recent[0][0] < now - SPEED_WINDOW_SECONDS:
                self._recent.popleft()
            recent_ms = sum(audio_ms for _, audio_ms in self._recent)
            return {
                "state": "ready" if self._is_ready else "loading",
                "queued": len(self._queue),
                **self._counts,
                "batch_sizes": {str(size): count for size, count in sorted(self._batch_sizes.items())},
                # Seconds of audio for each second: while it computes, and of the last minute with idle time.
                "speed_when_busy": round(self._counts["audio_ms"] / max(1, self._counts["busy_ms"]), 2),
                "speed_last_minute": round(recent_ms / 1000 / SPEED_WINDOW_SECONDS, 2),
                "models": self._models.health(),
                "engine": self._models.describe(self._models.default),
                "engines": {model: self._models.describe(model) for model in self._models.health()},
            }

    def _run_thread(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as error:  # noqa: BLE001 - without this thread the process is useless and must be restarted
            self._fail(error)

    def _prepare_loop(self) -> None:
        """First thread: load the default model, then preload models and prepare waiting clips."""
        self._models.get(self._models.default)
        with self._changed:
            self._is_ready = True
            self._to_preload.discard(self._models.default)
        while True:
            with self._changed:
                clip = None
                while not self._is_stopping and not self._to_preload:
                    clip = self._queue.next_to_prepare(now=time.monotonic())
                    if clip is not None:
                        break
                    self._changed.wait()
                if self._is_stopping:
                    return
                to_load, self._to_preload = self._to_preload, set()
            for model in to_load:
                try:
                    self._models.get(model)
                except SpeechError:
                    logger.warning("the model %s is not available", model)
            if clip is not None:
                self._prepare_clip(clip)

    def _prepare_clip(self, clip: QueuedClip) -> None:
        try:
            engine = self._models.get(clip.model)
            prepared = engine.prepare(protocol.unpack_clip(clip.frame))
            bucket = engine.bucket(prepared, clip.options)
        except Exception as error:  # noqa: BLE001 - `_answer_failure` answers and logs it
            with self._changed:
                self._queue.remove([clip.id])
            self._answer_failure(clip, error)
            return
        with self._changed:
            self._queue.mark_ready(clip, bucket=bucket, prepared=prepared, now=time.monotonic())
            self._changed.notify_all()

    def _recognise_loop(self) -> None:
        """Second thread: recognise batch after batch."""
        while True:
            with self._changed:
                batch: list[QueuedClip] = []
                while not self._is_stopping:
                    batch, wait_seconds = self._queue.pop_batch(max_batch=self._batch_size(), now=time.monotonic())
                    if batch:
                        break
                    self._changed.wait(wait_seconds)
                if self._is_stopping:
                    return
            started = self._batch_since = time.monotonic()
            try:
                with self._models.acquire(batch[0].model) as engine:
                    self._recognise(engine, batch[: engine.max_batch])
                    for start in range(engine.max_batch, len(batch), engine.max_batch):
                        self._recognise(engine, batch[start : start + engine.max_batch])
            except SpeechError as error:  # the model was evicted and does not load again
                for clip in batch:
                    self._answer_failure(clip, error)
            finally:
                self._batch_since = None
                self._counts["busy_ms"] += round((time.monotonic() - started) * 1000)

    def _batch_size(self) -> int:
        described = self._models.describe(self._models.default)
        largest = 1 if described is None else max(1, described["max_batch"])
        size = min(self._max_batch or largest, largest)
        return max(1, size >> (self._reduced_batches_left + REDUCED_BATCHES - 1) // REDUCED_BATCHES)

    def _recognise(self, engine: BatchEngine, batch: list[QueuedClip]) -> None:
        """Answer every clip of the batch. Repeat in halves if memory runs out, one by one after any other error."""
        left = dict(enumerate(batch))
        self._batch_sizes[len(batch)] += 1
        try:
            heard = engine.recognise_batch([clip.prepared for clip in batch], [clip.options for clip in batch])
            for index, recognition in heard:
                self._answer_recognition(left.pop(index), recognition)
            assert not left, "an engine answers for every clip"
        except Exception as error:  # one bad clip must fail neither the others of its batch nor the process
            clips = list(left.values())
            is_memory = is_out_of_memory(error)
            if is_memory:
                self._counts["out_of_memory"] += 1
                self._reduced_batches_left = min(self._reduced_batches_left + REDUCED_BATCHES, 5 * REDUCED_BATCHES)
            logger.warning("a batch of %d failed: %s", len(batch), error, exc_info=not is_memory)
            if len(batch) == 1:
                if is_memory and self._models.evict_others(clips[0].model):
                    self._recognise(engine, clips)
                else:
                    self._answer_failure(clips[0], error)
                if is_broken_device(error):
                    raise
                return
            size = max(1, len(batch) // 2) if is_memory else 1
            for start in range(0, len(clips), size):
                self._recognise(engine, clips[start : start + size])
        else:
            self._reduced_batches_left = max(0, self._reduced_batches_left - 1)

    def _answer_recognition(self, clip: QueuedClip, recognition: Recognition) -> None:
        self._counts["clips"] += 1
        self._counts["audio_ms"] += clip.duration_ms
        with self._changed:
            self._recent.append((time.monotonic(), clip.duration_ms))
        self._answer(clip.id, {"kind": "result", "recognition": protocol.recognition_to_list(recognition)})

    def _answer_failure(self, clip: QueuedClip, error: Exception) -> None:
        self._counts["failures"] += 1
        if not isinstance(error, SpeechError):
            logger.error("recognition failed", exc_info=error)
            error = EngineFailed()
        self._answer(clip.id, {"kind": "error", "error": error.to_dict()})


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, by the messages of CTranslate2, CUDA, cuBLAS and Python."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        phrase in text for phrase in ("out of memory", "bad_alloc", "bad allocation", "alloc_failed")
    )


def is_broken_device(error: BaseException) -> bool:
    """Tell whether the GPU will refuse all further work of this process, so that only a new process helps."""
    text = str(error).lower()
    return not is_out_of_memory(error) and "cuda" in text and "error" in text
