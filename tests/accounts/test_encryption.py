"""Stored secrets: encrypted with the newest key, read with any."""

import pytest
from cryptography.fernet import InvalidToken

from accounts import encryption


def test_stored_text_does_not_show_the_secret():
    stored = encryption.encrypt("Bearer of bad news")
    assert "Bearer" not in stored
    assert encryption.decrypt(stored) == "Bearer of bad news"


def test_same_text_is_never_stored_the_same_way():
    assert encryption.encrypt("secret") != encryption.encrypt("secret")


def test_secret_is_read_until_its_key_is_dropped(settings):
    settings.FIELD_KEYS = ["old"]
    stored = encryption.encrypt("secret")
    settings.FIELD_KEYS = ["new", "old"]
    assert encryption.decrypt(stored) == "secret"
    settings.FIELD_KEYS = ["new"]
    with pytest.raises(InvalidToken):
        encryption.decrypt(stored)
