import asyncio

from apex.stream_buffer import StreamBuffer


def test_chunks_come_in_order_and_buffered_ones_together():
    async def act():
        buffer = StreamBuffer()
        buffer.put(b"a")
        buffer.put(b"b")
        chunks = buffer.chunks()
        assert await anext(chunks) == b"ab"
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        buffer.put(b"c")
        assert await waiting == b"c"
        buffer.put(b"d")
        buffer.end()
        assert [chunk async for chunk in chunks] == [b"d"]

    asyncio.run(act())


def test_producer_waits_for_a_slow_consumer():
    async def act():
        buffer = StreamBuffer(max_bytes=10)
        buffer.put(b"x" * 11)
        space = asyncio.ensure_future(buffer.wait_for_space(seconds=5))
        await asyncio.sleep(0.01)
        assert not space.done()
        assert await anext(buffer.chunks()) == b"x" * 11
        assert await space

    asyncio.run(act())


def test_wait_ends_when_the_consumer_takes_nothing():
    async def act():
        buffer = StreamBuffer(max_bytes=10)
        buffer.put(b"x" * 11)
        assert not await buffer.wait_for_space(seconds=0.01)

    asyncio.run(act())


def test_discard_lets_the_producer_continue():
    async def act():
        buffer = StreamBuffer(max_bytes=10)
        buffer.put(b"x" * 11)
        space = asyncio.ensure_future(buffer.wait_for_space(seconds=5))
        await asyncio.sleep(0)
        buffer.discard()
        assert await space

    asyncio.run(act())
