from django.db import connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from accounts.models import User
from voxsite.middleware import StreamsHoldNoConnection


def answer_with(response):
    def view(_):
        User.objects.exists()
        return response

    return StreamsHoldNoConnection(view)(RequestFactory().get("/"))


def test_stream_holds_no_connection(transactional_db):
    connection = connections["default"]
    is_shared_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()
    answer_with(StreamingHttpResponse(iter([b"x"])))
    # An in-memory database of the tests would be lost with its connection, so Django keeps that one.
    assert is_shared_memory or connection.connection is None


def test_other_answers_keep_it_for_the_request(transactional_db):
    answer_with(HttpResponse())
    assert connections["default"].connection is not None
