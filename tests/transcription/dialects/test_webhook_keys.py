"""The published keys of webhooks."""

import pytest
from django.test import Client

from transcription.dialects import webhook_keys
from transcription.webhooks import keys

pytestmark = pytest.mark.django_db


def test_anybody_reads_the_public_keys():
    answer = Client().get("/.well-known/webhook-keys.json")
    assert answer.status_code == 200
    (key,) = answer.json()["keys"]
    assert key["public_key"].startswith("whpk_")
    assert answer["Cache-Control"] == "public, max-age=3600"


def test_document_may_not_be_kept_for_longer_than_keys_are_published_ahead():
    assert keys.PUBLISHED_AHEAD.total_seconds() > webhook_keys.MAX_AGE_SECONDS


def test_nothing_private_is_published():
    private = keys.signing_key(now=webhook_keys.timezone.now()).to_text()
    content = Client().get("/.well-known/webhook-keys.json").content.decode()
    assert private not in content
    assert private.rstrip("=").translate(str.maketrans("+/", "-_")) not in content


def test_only_reading_is_possible():
    assert Client().post("/.well-known/webhook-keys.json").status_code == 405
