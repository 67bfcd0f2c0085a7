import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from cryptography.fernet import InvalidToken

from accounts.adapter import MfaAdapter


def test_totp_secret_is_encrypted_at_rest(alice):
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    assert secret not in str(Authenticator.objects.values().get())


def test_keys_are_rotated(settings):
    settings.FIELD_KEYS = ["old"]
    stored = MfaAdapter().encrypt("seed")
    settings.FIELD_KEYS = ["new", "old"]
    assert MfaAdapter().decrypt(stored) == "seed"
    settings.FIELD_KEYS = ["new"]
    with pytest.raises(InvalidToken):
        MfaAdapter().decrypt(stored)
