"""Bodies are taken while they come: in batches, by another thread, and no more than was announced."""

import asyncio
import threading
import time

import pytest

from transcription.dialects.s3 import bodies
from transcription.dialects.s3.bodies import Body, Patience
from transcription.dialects.s3.wire import Fault
from transcription.recordings import disk_space, incoming


class Sender:
    """The receive of an ASGI server. It counts what was asked for."""

    def __init__(self, *pieces, then=None):
        self.pieces = list(pieces)
        self.then = then
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        if len(self.pieces) == 1 and self.then is None:
            return {"type": "http.request", "body": self.pieces.pop(), "more_body": False}
        if self.pieces:
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": True}
        if self.then == "silence":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


class Recorder(incoming.Measured):
    """Remembers each write and in which thread it was."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.threads = set()

    def write(self, pieces):
        super().write(pieces)
        self.batches.append(len(pieces))
        self.threads.add(threading.get_ident())


def store(sender, size, file=None, **patience):
    body = Body(sender, patience=Patience(**patience))
    with file or Recorder() as taken:
        asyncio.run(bodies.store(body, taken, size_bytes=size))
        return taken


def test_body_is_written_in_batches_by_another_thread():
    piece = bytes(100_000)
    file = store(Sender(*[piece] * 25), 2_500_000)
    assert file.size_bytes == 2_500_000
    assert file.batches == [11, 11, 3]
    assert threading.get_ident() not in file.threads


def test_bytes_that_come_one_by_one_are_written_before_they_are_many_objects():
    file = store(Sender(*[b"a"] * 1000), 1000)
    assert max(file.batches) == bodies.BATCH_PIECES
    assert file.size_bytes == 1000


def test_body_may_end_with_an_empty_piece():
    assert store(Sender(b"abc", b""), 3).size_bytes == 3


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([b"abcd"], "EntityTooLarge"),
        ([b"ab", b"cd"], "EntityTooLarge"),
        ([b"ab"], "IncompleteBody"),
        ([b""], "IncompleteBody"),
    ],
)
def test_body_of_another_size_is_refused(pieces, code):
    with pytest.raises(Fault) as caught:
        store(Sender(*pieces), 3)
    assert (caught.value.code, caught.value.http_status) == (code, 400)


def test_no_more_is_read_once_a_body_is_too_large():
    sender = Sender(*[bytes(600_000)] * 50)
    with pytest.raises(Fault):
        store(sender, 1000)
    assert sender.asked <= 2


def test_client_that_leaves_ends_it():
    with pytest.raises(bodies.Disconnected):
        store(Sender(b"abc", then="leaves"), 10)


def test_silent_client_is_given_up():
    with pytest.raises(Fault) as caught:
        store(Sender(b"abc", then="silence"), 10, idle_seconds=0.01)
    assert (caught.value.code, caught.value.http_status) == ("RequestTimeout", 408)


class Dripping:
    """Sends a byte, pauses, and so on. It ends by itself, so that a test of a server that waits for it ends too."""

    def __init__(self, count, *, pause, size_bytes=1):
        self.left, self.pause, self.piece = count, pause, bytes(size_bytes)

    async def __call__(self):
        await asyncio.sleep(self.pause)
        self.left -= 1
        return {"type": "http.request", "body": self.piece, "more_body": self.left > 0}


def test_dripping_client_is_given_up():
    """A byte now and then is no pause, and would keep its place and its file for ever."""
    sender = Dripping(1000, pause=0.01)
    with pytest.raises(Fault) as caught:
        store(sender, 1000, window_seconds=0.05)
    assert (caught.value.code, caught.value.http_status) == ("RequestTimeout", 408)
    assert sender.left > 900


def test_slow_client_is_not_given_up():
    sender = Dripping(30, pause=0.01, size_bytes=2000)
    assert store(sender, 60_000, window_seconds=0.05, min_bytes=100).size_bytes == 60_000


def test_slow_disk_is_no_fault_of_the_client():
    class Slow(Recorder):
        def write(self, pieces):
            time.sleep(0.05)
            super().write(pieces)

    piece = bytes(bodies.BATCH_BYTES)
    file = store(Sender(*[piece] * 5), 5 * len(piece), Slow(), window_seconds=0.02, min_bytes=10**9)
    assert file.size_bytes == 5 * len(piece)


def test_fault_of_the_disk_ends_it_and_is_told():
    class Full(Recorder):
        def write(self, pieces):
            raise disk_space.DiskFull

    sender = Sender(*[bytes(bodies.BATCH_BYTES)] * 50)
    with pytest.raises(disk_space.DiskFull):
        store(sender, 50 * bodies.BATCH_BYTES, Full())
    assert sender.asked < 5


def test_loop_goes_on_while_the_disk_is_slow():
    may_go_on = threading.Event()

    class Slow(Recorder):
        def write(self, pieces):
            assert may_go_on.wait(60)
            super().write(pieces)

    async def scenario(file):
        storing = asyncio.create_task(bodies.store(Body(Sender(b"abc")), file, size_bytes=3))
        await asyncio.sleep(0.01)
        assert not storing.done()
        may_go_on.set()
        await storing

    with Slow() as file:
        asyncio.run(scenario(file))
        assert file.size_bytes == 3


def test_small_body_is_read_whole_and_a_larger_one_is_refused():
    assert asyncio.run(bodies.read(Body(Sender(b"ab", b"", b"cd")), max_bytes=4)) == b"abcd"
    with pytest.raises(Fault) as caught:
        asyncio.run(bodies.read(Body(Sender(b"ab", b"cde")), max_bytes=4))
    assert caught.value.http_status == 400
    with pytest.raises(bodies.Disconnected):
        asyncio.run(bodies.read(Body(Sender(b"ab", then="leaves")), max_bytes=4))
