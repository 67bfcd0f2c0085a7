"""A new secret is shown by one page, to one person, of one organization."""

import time
import uuid

import pytest
from django.contrib.sessions.backends.cached_db import SessionStore
from django.test import RequestFactory

from accounts import shown_once

OURS = uuid.uuid4()


@pytest.fixture
def request_():
    request = RequestFactory().get("/")
    request.session = SessionStore()
    return request


def test_secret_is_shown_once_and_lies_encrypted_meanwhile(db, request_):
    shown_once.put(request_, "vxp_live_secret", organization_id=OURS)
    assert "vxp_live_secret" not in str(request_.session[shown_once.SESSION_KEY])
    assert shown_once.take(request_, organization_id=OURS) == "vxp_live_secret"
    assert shown_once.take(request_, organization_id=OURS) is None
    assert shown_once.SESSION_KEY not in request_.session


def test_page_of_another_organization_does_not_show_it(db, request_):
    shown_once.put(request_, "vxp_live_secret", organization_id=OURS)
    assert shown_once.take(request_, organization_id=uuid.uuid4()) is None
    assert shown_once.take(request_, organization_id=OURS) == "vxp_live_secret"


def test_secret_that_nobody_fetched_is_forgotten(db, request_, monkeypatch):
    shown_once.put(request_, "vxp_live_secret", organization_id=OURS)
    later = time.time() + shown_once.LIFETIME_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert shown_once.take(request_, organization_id=OURS) is None
    assert shown_once.SESSION_KEY not in request_.session


def test_secret_of_a_lost_encryption_key_is_no_fault(db, request_, settings):
    shown_once.put(request_, "vxp_live_secret", organization_id=OURS)
    settings.FIELD_KEYS = ("another key",)
    assert shown_once.take(request_, organization_id=OURS) is None
