import pytest
from django.db import connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from accounts.models import User
from voxsite.middleware import StreamsHoldNoResources


@pytest.fixture
def closed(transactional_db, monkeypatch):
    """The times that this thread's connection was given back: SQLite in memory keeps its own open and tells nothing."""
    times = []
    monkeypatch.setattr(connections["default"], "close", lambda: times.append(1))
    return times


def answer_with(response):
    def view(_):
        User.objects.exists()
        return response

    return StreamsHoldNoResources(view)(RequestFactory().get("/"))


def test_stream_holds_no_connection(closed):
    answer_with(StreamingHttpResponse(iter([b"x"])))
    assert len(closed) == 1


def test_other_answers_keep_it_for_the_request(closed):
    answer_with(HttpResponse())
    assert closed == []
