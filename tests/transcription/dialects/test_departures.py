"""Calls whose clients have gone, found before their tasks have noticed."""

import uuid

import pytest

from accounts.gate.later import Connection
from transcription.dialects import departures
from transcription.dialects.departures import OpenCall


@pytest.fixture
def open_call():
    """Return a maker of open calls. All are forgotten at the end."""
    made = []

    def make(mark="m", *, is_lost=True):
        made.append(OpenCall(mark, uuid.uuid4(), Connection(is_lost)))
        departures.add(made[-1])
        return made[-1]

    yield make
    for call in made:
        departures.remove(call)
    assert not departures._open


def anything(job_id):
    return True


def test_call_that_was_left_has_one_repeat(open_call):
    first, second = open_call(), open_call()
    assert departures.take("m", is_repeated=anything) == second.job_id
    assert departures.take("m", is_repeated=anything) == first.job_id
    assert departures.take("m", is_repeated=anything) is None
    assert first.was_repeated
    assert second.was_repeated


def test_client_that_is_still_there_has_none(open_call):
    call = open_call(is_lost=False)
    assert departures.take("m", is_repeated=anything) is None
    call.connection.is_lost = True
    assert departures.take("n", is_repeated=anything) is None
    assert departures.take("m", is_repeated=lambda job_id: job_id != call.job_id) is None
    assert departures.take("m", is_repeated=anything) == call.job_id


def test_call_that_was_noted_for_all_processes_is_not_found(open_call):
    call = open_call()
    departures.remove(call)
    assert departures.take("m", is_repeated=anything) is None


def test_call_that_another_one_takes_at_the_same_moment_is_not_taken(open_call):
    call = open_call()

    def taken_meanwhile(job_id):
        call.was_repeated = True
        return True

    assert departures.take("m", is_repeated=taken_meanwhile) is None
