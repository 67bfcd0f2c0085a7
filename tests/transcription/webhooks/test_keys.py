"""The life of signing keys: published ahead, used, published after, deleted, and replaced in an emergency."""

from datetime import UTC, datetime, timedelta

import pytest

from transcription.models import SigningKey
from transcription.webhooks import keys

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 29, 12, tzinfo=UTC)


def published(now):
    return [key["kid"] for key in keys.public_document(now=now)["keys"]]


def test_first_key_is_made_when_it_is_needed_and_then_kept():
    first = keys.signing_key(now=START)
    assert first.kid == "v1"
    assert keys.signing_key(now=START + timedelta(days=1)).to_text() == first.to_text()
    assert published(START) == ["v1"]


def test_private_key_is_encrypted_at_rest():
    first = keys.signing_key(now=START)
    assert first.to_text() not in str(SigningKey.objects.values().get())


def test_two_processes_make_one_key():
    first = keys.signing_key(now=START)
    # The other process had found no key either.
    assert keys.make_next(now=START, signs_from=START) == 1
    assert keys.signing_key(now=START).to_text() == first.to_text()


def test_life_of_a_key():
    keys.signing_key(now=START)
    due = START + keys.SIGNS_FOR
    ahead = due - keys.PUBLISHED_AHEAD
    keys.rotate(now=ahead - timedelta(hours=1))
    assert published(ahead) == ["v1"]
    keys.rotate(now=ahead)
    keys.rotate(now=ahead + timedelta(hours=1))
    # Known to receivers before it signs.
    assert published(ahead) == ["v1", "v2"]
    assert keys.signing_key(now=due - timedelta(seconds=1)).kid == "v1"
    assert keys.signing_key(now=due).kid == "v2"
    assert published(due) == ["v2", "v1"]
    gone = due + keys.PUBLISHED_AFTER
    keys.rotate(now=gone - timedelta(hours=1))
    assert published(gone) == ["v2", "v1"]
    keys.rotate(now=gone)
    assert published(gone) == ["v2"]


def test_clock_that_stood_still_still_publishes_ahead():
    keys.signing_key(now=START)
    late = START + timedelta(days=400)
    keys.rotate(now=late)
    assert keys.signing_key(now=late).kid == "v1"
    assert published(late) == ["v1", "v2"]
    assert keys.signing_key(now=late + keys.PUBLISHED_AHEAD).kid == "v2"


def test_key_that_got_out_is_replaced_at_once():
    old = keys.signing_key(now=START)
    keys.rotate(now=START + keys.SIGNS_FOR - keys.PUBLISHED_AHEAD)
    now = START + timedelta(days=89)
    assert keys.replace_now(now=now) == "v3"
    assert published(now) == ["v3"]
    assert keys.signing_key(now=now).to_text() != old.to_text()
