"""How webhooks are signed: Ed25519 over the message. Pure. Each published form is one function in SIGNERS.

Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, read 2026-11-29):
the signature `v1a` is over `id.timestamp.body`, public keys are written `whpk_` and base64, several signatures are
separated by blanks.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs. kid: its name in the published document."""

    kid: str
    key: Ed25519PrivateKey

    @classmethod
    def generate(cls, kid: str) -> "PrivateKey":
        return cls(kid, Ed25519PrivateKey.generate())

    @classmethod
    def from_text(cls, kid: str, text: str) -> "PrivateKey":
        """Return the key that `to_text` wrote."""
        return cls(kid, Ed25519PrivateKey.from_private_bytes(base64.b64decode(text)))

    def to_text(self) -> str:
        """Return the 32 bytes of the private key in base64."""
        raw = self.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return base64.b64encode(raw).decode()

    def public_text(self) -> str:
        """Return the 32 bytes of the public key in base64."""
        return base64.b64encode(self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign(self, message: bytes) -> str:
        """Return the signature in base64."""
        return base64.b64encode(self.key.sign(message)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is signed. sent_at: seconds since 1970 of this attempt."""

    id: str
    sent_at: int
    body: bytes


class Signer(Protocol):
    """Returns the headers of one published form of signature."""

    def __call__(self, message: Message, *, key: PrivateKey) -> dict[str, str]: ...


def standard(message: Message, *, key: PrivateKey) -> dict[str, str]:
    """Return the three headers of Standard Webhooks."""
    assert "." not in message.id, "the parts of what is signed are separated by full stops"
    signed = f"{message.id}.{message.sent_at}.".encode() + message.body
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(message.sent_at),
        "webhook-signature": f"v1a,{key.sign(signed)}",
    }


def transcribeapi(message: Message, *, key: PrivateKey) -> dict[str, str]:
    """Return the three headers of TranscribeAPI: the signature in base64 is over `timestamp.body`.

    Source: TranscribeAPI's documentation, "Webhooks", read 2026-11-29. The timestamp is in seconds.
    """
    signed = f"{message.sent_at}.".encode() + message.body
    return {
        "X-TranscribeAPI-Timestamp": str(message.sent_at),
        "X-TranscribeAPI-Signature": key.sign(signed),
        "X-TranscribeAPI-Key-Id": key.kid,
    }


# A delivery has the name of its signer, so a face with a signature of its own is one more line here.
SIGNERS: Mapping[str, Signer] = {"standard": standard, "transcribeapi": transcribeapi}


def public_document(keys: Sequence[tuple[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Return the published document of keys, the one that signs first. keys: (kid, public key in base64).

    Each key is written twice: as Standard Webhooks has it, and as a JWK (RFC 8037), which many libraries read.
    """
    return {
        "keys": [
            {
                "kid": kid,
                "public_key": f"whpk_{public}",
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "x": public.translate(str.maketrans("+/", "-_")).rstrip("="),
            }
            for kid, public in keys
        ]
    }
