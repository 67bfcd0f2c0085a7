"""Who hears of the end of this process, and when."""

import asyncio

import pytest

from accounts import stopping


@pytest.fixture(autouse=True)
def as_a_new_process():
    yield
    stopping.forget()


def test_process_serves_on_after_it_was_told_to_end():
    assert not stopping.is_draining()
    stopping.begin()
    assert stopping.is_draining()
    assert not stopping.is_interrupted()


def test_what_is_open_hears_of_the_end_once():
    heard = []
    with stopping.noticed(lambda: heard.append("open")):
        with stopping.noticed(lambda: heard.append("closed")):
            pass
        stopping.interrupt()
    assert heard == ["open"]
    assert stopping.is_interrupted()


def test_what_is_opened_after_the_end_hears_of_it_too():
    heard = []

    async def act():
        stopping.interrupt()
        with stopping.noticed(lambda: heard.append("late")):
            await asyncio.sleep(0)

    asyncio.run(act())
    assert heard == ["late"]
