"""A response is made while it is sent: piece after piece, in threads, without a connection between two pieces."""

import asyncio
import threading

from accounts.streaming import asynchronously


def test_next_piece_is_made_only_when_it_is_wanted():
    made = []

    def pieces():
        for number in range(3):
            made.append((number, threading.current_thread() is threading.main_thread()))
            yield str(number)

    async def read():
        stream = asynchronously(pieces())
        first = await anext(stream)
        assert [number for number, _ in made] == [0]
        return first, [piece async for piece in stream]

    assert asyncio.run(read()) == ("0", ["1", "2"])
    assert not any(is_main for _, is_main in made)
