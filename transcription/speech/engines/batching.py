"""The queue of clips: bounded, fair between jobs, and the choice of the next batch. No threads, no models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from transcription.speech.engines.protocol import PRIORITIES
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import BYTES_PER_SAMPLE, samples_to_ms

MAX_QUEUED = 256
MAX_QUEUED_BYTES = 512 << 20
# The part of the queue that each priority may fill, so that there is space for more urgent clips.
_QUEUE_SHARES = {"interactive": 1.0, "standard": 0.8, "bulk": 0.6}
# Each time a clip has waited this long, its priority rises by one step, so that no clip waits forever.
AGING_SECONDS = 20.0
# An incomplete batch waits this long for clips that have not arrived yet ...
BATCH_WAIT_SECONDS = 0.03
# ... and this long for clips in the queue that are not prepared yet.
PREPARATION_WAIT_SECONDS = 0.4
_MAX_REMEMBERED_JOBS = 1024


@dataclass(slots=True, eq=False)
class QueuedClip:
    """A clip in the queue. bucket, prepared: set by `mark_ready`, which also frees the frame."""

    id: str
    job: str
    priority: str
    model: str
    options: TranscriptionOptions
    frame: bytes
    arrived_at: float
    duration_ms: int = 0
    bucket: Hashable = None
    prepared: Any = None
    is_preparing: bool = False
    ready_at: float | None = None

    def __post_init__(self) -> None:
        self.duration_ms = samples_to_ms(len(self.frame) // BYTES_PER_SAMPLE)


class ClipQueue:
    """Holds clips until they are recognised. Not safe in threads: its owner holds a lock."""

    def __init__(self, *, max_queued: int = MAX_QUEUED) -> None:
        self._max_queued = max_queued
        self._clips: dict[str, QueuedClip] = {}
        self._bytes = 0
        self._served: OrderedDict[str, int] = OrderedDict()  # job -> serial number of its last clip in a batch
        self._serial = 0

    def __len__(self) -> int:
        return len(self._clips)

    def has_space(self, *, priority: str) -> bool:
        share = _QUEUE_SHARES[priority]
        return len(self._clips) < self._max_queued * share and self._bytes < MAX_QUEUED_BYTES * share

    def put(self, clip: QueuedClip) -> None:
        self._clips[clip.id] = clip
        self._bytes += len(clip.frame)

    def remove(self, ids: Iterable[str]) -> list[QueuedClip]:
        """Remove clips and return them. Unknown ids are ignored."""
        gone = [self._clips.pop(one) for one in ids if one in self._clips]
        self._bytes = sum(len(clip.frame) for clip in self._clips.values())
        return gone

    def next_to_prepare(self, *, now: float) -> QueuedClip | None:
        """Return the next clip to prepare, and mark it as being prepared. None without one."""
        clips = [clip for clip in self._clips.values() if clip.ready_at is None and not clip.is_preparing]
        if not clips:
            return None
        clip = self._by_urgency(clips, now=now)[0]
        clip.is_preparing = True
        return clip

    def mark_ready(self, clip: QueuedClip, *, bucket: Hashable, prepared: Any, now: float) -> None:
        """Record that the clip is prepared and can be recognised."""
        clip.bucket, clip.prepared, clip.ready_at, clip.is_preparing = bucket, prepared, now, False
        if clip.id in self._clips:
            self._bytes -= len(clip.frame)
        clip.frame = b""

    def pop_batch(self, *, max_batch: int, now: float) -> tuple[list[QueuedClip], float | None]:
        """Remove and return the next batch: (clips, None).

        Returns ([], seconds until the next call) if it is better to wait for more clips, and ([], None) if no clip is
        ready.
        """
        ready = [clip for clip in self._clips.values() if clip.ready_at is not None]
        if not ready:
            return [], None
        ordered = self._by_urgency(ready, now=now)
        lead = ordered[0]
        batch = [clip for clip in ordered if (clip.model, clip.bucket) == (lead.model, lead.bucket)][:max_batch]
        if len(batch) < max_batch:
            oldest = min(clip.ready_at for clip in batch if clip.ready_at is not None)
            window = PREPARATION_WAIT_SECONDS if len(ready) < len(self._clips) else BATCH_WAIT_SECONDS
            if now < oldest + window:
                return [], min(oldest + window - now, BATCH_WAIT_SECONDS)
        for clip in batch:
            del self._clips[clip.id]
            self._serial += 1
            self._served[clip.job] = self._serial
            self._served.move_to_end(clip.job)
        while len(self._served) > _MAX_REMEMBERED_JOBS:
            self._served.popitem(last=False)
        return batch, None

    def _by_urgency(self, clips: list[QueuedClip], *, now: float) -> list[QueuedClip]:
        """Return the clips by urgency, then in turns between jobs, beginning with the job that has waited longest."""
        turns: dict[tuple[int, str], int] = {}
        keyed = []
        for clip in sorted(clips, key=lambda one: one.arrived_at):
            urgency = max(0, PRIORITIES.index(clip.priority) - int((now - clip.arrived_at) / AGING_SECONDS))
            turn = turns.get((urgency, clip.job), 0)
            turns[urgency, clip.job] = turn + 1
            keyed.append(((urgency, turn, self._served.get(clip.job, 0), clip.arrived_at), clip))
        keyed.sort(key=lambda pair: pair[0])
        return [clip for _, clip in keyed]
