import asyncio

from apex.stream_buffer import Channel


def test_pieces_come_in_order_and_what_waits_comes_together():
    async def act():
        channel = Channel()
        channel.give(b"a")
        channel.give(b"b")
        pieces = channel.pieces()
        assert await anext(pieces) == b"ab"
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        channel.give(b"c")
        assert await waiting == b"c"
        channel.give(b"d")
        channel.end()
        assert [piece async for piece in pieces] == [b"d"]

    asyncio.run(act())


def test_slow_reader_makes_the_giver_wait():
    async def act():
        channel = Channel(largest_backlog_bytes=10)
        channel.give(b"x" * 11)
        room = asyncio.ensure_future(channel.room(seconds=5))
        await asyncio.sleep(0.01)
        assert not room.done()
        assert await anext(channel.pieces()) == b"x" * 11
        assert await room

    asyncio.run(act())


def test_reader_that_takes_nothing_is_given_up():
    async def act():
        channel = Channel(largest_backlog_bytes=10)
        channel.give(b"x" * 11)
        assert not await channel.room(seconds=0.01)

    asyncio.run(act())


def test_discarding_frees_the_giver():
    async def act():
        channel = Channel(largest_backlog_bytes=10)
        channel.give(b"x" * 11)
        room = asyncio.ensure_future(channel.room(seconds=5))
        await asyncio.sleep(0)
        channel.discard()
        assert await room

    asyncio.run(act())
