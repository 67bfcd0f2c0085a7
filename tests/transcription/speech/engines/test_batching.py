"""The order in which clips are recognised. The tests set the clock of the queue."""

from __future__ import annotations

import itertools

import pytest

from transcription.speech.engines import batching
from transcription.speech.engines.batching import ClipQueue, QueuedClip
from transcription.speech.options import TranscriptionOptions

LONG_AFTER = 5.0


class Queue:
    """A queue whose clips are ready immediately unless a test says otherwise."""

    def __init__(self, max_queued=256):
        self.queue = ClipQueue(max_queued=max_queued)
        self.ids = itertools.count()

    def put(self, job, count=1, *, priority="standard", bucket=0, model="standard", at=0.0, is_ready=True):
        for _ in range(count):
            clip = QueuedClip(
                id=str(next(self.ids)),
                job=job,
                priority=priority,
                model=model,
                options=TranscriptionOptions(),
                frame=b"1234" * 16,
                arrived_at=at,
            )
            self.queue.put(clip)
            if is_ready:
                assert self.queue.next_to_prepare(now=at) is clip
                self.queue.mark_ready(clip, bucket=bucket, prepared=object(), now=at)

    def take(self, max_batch=4, now=LONG_AFTER):
        batch, _ = self.queue.pop_batch(max_batch=max_batch, now=now)
        return "".join(clip.job for clip in batch)


@pytest.fixture
def queue():
    return Queue()


def test_jobs_take_turns(queue):
    queue.put("a", 6)
    queue.put("b", 3)
    queue.put("c", 1)
    assert [queue.take() for _ in range(4)] == ["abca", "baba", "aa", ""]


def test_newcomer_comes_before_who_was_served(queue):
    queue.put("a", 8)
    queue.take()
    queue.put("b", 1)
    assert queue.take() == "baaa"


def test_urgent_clips_come_first_and_old_ones_become_urgent(queue):
    queue.put("b", 4, priority="bulk")
    queue.put("s", 1)
    queue.put("i", 2, priority="interactive")
    assert queue.take() == "iisb"
    later = 2 * batching.AGING_SECONDS + 1
    queue.put("i", 4, priority="interactive", at=later)
    assert queue.take(now=later + 1).count("b") == 2


@pytest.mark.parametrize("other", [{"bucket": 7}, {"model": "premium"}])
def test_only_equals_share_a_batch(queue, other):
    queue.put("a", 2)
    queue.put("b", 2, **other)
    assert [queue.take(), queue.take()] == ["aa", "bb"]


def test_short_batch_waits_a_little_and_a_full_one_does_not(queue):
    queue.put("a", 3)
    batch, wait = queue.queue.pop_batch(max_batch=4, now=0.01)
    assert batch == []
    assert 0 < wait <= batching.BATCH_WAIT_SECONDS
    queue.put("b", 1)
    assert queue.take(now=0.01) == "abaa"


def test_short_batch_waits_longer_for_clips_that_are_being_prepared(queue):
    queue.put("a", 1)
    queue.put("b", 1, is_ready=False)
    assert queue.take(now=2 * batching.BATCH_WAIT_SECONDS) == ""
    assert queue.take(now=batching.PREPARATION_WAIT_SECONDS + 0.01) == "a"


def test_queue_keeps_room_for_the_urgent():
    queue = Queue(max_queued=10)
    room = {}
    for count in range(11):
        for priority in ("bulk", "standard", "interactive"):
            if queue.queue.has_space(priority=priority):
                room[priority] = count
        queue.put("a")
    assert room == {"bulk": 5, "standard": 7, "interactive": 9}


def test_dropped_clips_are_gone(queue):
    queue.put("a", 2)
    queue.put("b", 1)
    assert len(queue.queue.remove(["0", "nobody's"])) == 1
    assert queue.take() == "ab"
    assert len(queue.queue) == 0
