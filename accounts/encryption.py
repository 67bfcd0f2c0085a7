"""Encryption of stored secrets that must be read back: second factors, signing keys, customers' headers."""

import base64
import hashlib

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def encrypt(text: str) -> str:
    """Return the text encrypted with the newest of settings.FIELD_KEYS."""
    return _fernet().encrypt(text.encode()).decode()


def decrypt(encrypted_text: str) -> str:
    """Return the text. Raises cryptography.fernet.InvalidToken if no key of settings.FIELD_KEYS fits."""
    return _fernet().decrypt(encrypted_text.encode()).decode()


def _fernet() -> MultiFernet:
    """Return the cipher. It encrypts with the first key and decrypts with any, so that keys can be rotated."""
    keys = [
        base64.urlsafe_b64encode(hashlib.sha256(f"voxsite.field:{key}".encode()).digest())
        for key in settings.FIELD_KEYS
    ]
    return MultiFernet([Fernet(key) for key in keys])
