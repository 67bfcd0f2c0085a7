"""A session cookie is what anybody may write: only what we could have written ourselves reaches the database."""

import pytest
from django.conf import settings
from django.test import Client

from accounts.gate import authentication
from accounts.sessions import SessionStore


@pytest.mark.parametrize(
    "key", ["\x00aaaaaaaaaaaaaaa", "\x00" * 32, "a" * 31, "a" * 33, "A" * 32, "a" * 31 + "\n", "ä" * 32, ""]
)
def test_key_that_django_never_makes_is_nobodys(db, key):
    assert SessionStore(key).session_key is None
    assert not authentication.is_known({}, cookies={settings.SESSION_COOKIE_NAME: key})


def test_own_keys_are_taken(db):
    session = SessionStore()
    session["a"] = 1
    session.save()
    assert SessionStore(session.session_key)["a"] == 1


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/overview/", 302), ("/accounts/login/", 200)])
def test_cookie_with_a_null_character_is_nobodys(db, path, status):
    client = Client(headers={"cookie": f'{settings.SESSION_COOKIE_NAME}="\\000aaaaaaaaaaaaaaa"'})
    assert client.get(path).status_code == status


def test_sessions_from_before_stay_signed_in(alice, client_of):
    client = client_of(alice)
    from django.contrib.sessions.backends.db import SessionStore as Before

    assert Before(client.cookies[settings.SESSION_COOKIE_NAME].value)["_auth_user_id"] == str(alice.pk)
    assert client.get("/overview/").status_code == 200
