"""Middleware: what streams hold, when sessions are noted, and what is compressed."""

import gzip
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db import connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from accounts.models import User
from voxsite.middleware import CompressPages, StreamsHoldNoResources


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


def test_session_is_noted_once_a_minute_and_when_its_client_changes(alice, client_of):
    client = client_of(alice)
    start = datetime(2026, 11, 29, 12, tzinfo=UTC)

    def seen_at(seconds, **headers):
        """Return the second at which the session was last noted, after a request at another."""
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            assert client.get("/overview/", headers=headers).status_code == 200
        return (UserSession.objects.get(user=alice).last_seen_at - start).total_seconds()

    assert seen_at(0) == 0
    assert seen_at(30) == 0
    assert seen_at(40, user_agent="Another browser") == 40
    assert UserSession.objects.get(user=alice).user_agent == "Another browser"
    # Redis keeps its own time.
    cache.clear()
    assert seen_at(90) == 90


def test_visitor_has_no_session_that_is_noted(db, client):
    assert client.get("/pricing/").status_code == 200
    assert not UserSession.objects.exists()


# --- Compression -----------------------------------------------------------------------------------------------------

GZIP = {"Accept-Encoding": "gzip, br"}


def is_compressed(response) -> bool:
    return response.headers.get("Content-Encoding") == "gzip"


@pytest.mark.long
@pytest.mark.parametrize("path", ["/", "/docs/", "/openapi.json", "/pricing/?from=a-friend"])
def test_pages_are_compressed_for_who_takes_it(db, path):
    client = Client()
    compressed, plain = client.get(path, headers=GZIP), client.get(path)
    assert is_compressed(compressed)
    assert "Accept-Encoding" in compressed["Vary"]
    assert not is_compressed(plain)
    assert len(compressed.content) < len(plain.content) / 2


def test_page_of_a_member_is_compressed_unless_the_address_could_hold_a_guess(alice, organization, client_of):
    client = client_of(alice)
    assert is_compressed(client.get("/transcripts/", headers=GZIP))
    assert not is_compressed(client.get("/transcripts/?status=alice@example.com", headers=GZIP))


def test_page_with_a_secret_is_not_compressed(alice, organization, client_of):
    assert not is_compressed(client_of(alice).get("/keys/", headers=GZIP))


@pytest.mark.long
def test_same_page_has_another_token_and_another_length_each_time(alice, organization, client_of):
    """What is hidden in the page cannot be learned from the sizes of many answers."""
    client = client_of(alice)
    pages = [client.get("/organization/new/", headers=GZIP) for _ in range(8)]
    texts = [gzip.decompress(page.content).decode() for page in pages]
    assert len({re.search(r'csrfmiddlewaretoken" value="(\w+)', text)[1] for text in texts}) == 8
    assert len({len(page.content) for page in pages}) > 1


@pytest.mark.parametrize("path", ["/static/css/voxsite.css", "/static/js/voxsite.js", "/static/favicon.svg"])
def test_static_text_is_compressed_and_can_be_kept(db, path):
    client = Client()
    first = client.get(path, headers=GZIP)
    assert is_compressed(first)
    assert int(first["Content-Length"]) == len(first.content)
    plain = b"".join(client.get(path))
    assert gzip.decompress(first.content) == plain
    kept = client.get(path, headers=GZIP | {"If-Modified-Since": first["Last-Modified"]})
    assert kept.status_code == 304
    head = client.head(path, headers=GZIP)
    assert int(head["Content-Length"]) == len(plain)


def test_answers_for_programs_stay_as_they_are(api):
    response = api.client.get("/v1/models", headers=GZIP | {"X-API-Key": api.key})
    assert response.status_code == 200
    assert not is_compressed(response)


def test_streams_are_not_held_back():
    stream = StreamingHttpResponse(iter([b"<p>" + b"x" * 500]), content_type="text/html")
    request = RequestFactory().get("/", headers=GZIP)
    assert CompressPages(lambda _: stream)(request) is stream
    assert not is_compressed(stream)
