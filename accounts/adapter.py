"""What we change of django-allauth."""

import base64
import hashlib

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypts TOTP secrets and recovery seeds at rest; allauth by itself stores them in clear."""

    def encrypt(self, text: str) -> str:
        return _fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _fernet().decrypt(encrypted_text.encode()).decode()


def _fernet() -> MultiFernet:
    """Encrypts with the first key and reads with any: so that keys can be rotated."""
    keys = [
        base64.urlsafe_b64encode(hashlib.sha256(f"voxsite.field:{key}".encode()).digest())
        for key in settings.FIELD_KEYS
    ]
    return MultiFernet([Fernet(key) for key in keys])
