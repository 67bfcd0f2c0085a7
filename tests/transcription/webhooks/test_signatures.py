"""Signatures: what other implementations of Ed25519 say of them."""

import base64
import shutil
import subprocess

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from transcription.webhooks import signatures
from transcription.webhooks.signatures import Message, PrivateKey

# RFC 8032, section 7.1, test 2.
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
MESSAGE = Message(id="msg_1", sent_at=1_700_000_000, body='{"name":"Zoë"}'.encode())


@pytest.fixture
def key():
    return PrivateKey.from_text("v1", base64.b64encode(SECRET).decode())


def test_key_is_that_of_the_rfc(key):
    assert base64.b64decode(key.public_text()) == PUBLIC
    assert base64.b64decode(key.sign(b"\x72")) == SIGNATURE
    assert key.to_text() == base64.b64encode(SECRET).decode()


def test_generated_keys_differ():
    assert PrivateKey.generate("v1").to_text() != PrivateKey.generate("v1").to_text()


def test_standard_webhook_has_three_headers(key):
    headers = signatures.standard(MESSAGE, key=key)
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == "1700000000"
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(
        base64.b64decode(signature), b'msg_1.1700000000.{"name":"Zo\xc3\xab"}'
    )


@pytest.mark.parametrize(
    "changed",
    [
        Message(id="msg_2", sent_at=MESSAGE.sent_at, body=MESSAGE.body),
        Message(id="msg_1", sent_at=MESSAGE.sent_at + 1, body=MESSAGE.body),
        Message(id="msg_1", sent_at=MESSAGE.sent_at, body=MESSAGE.body + b" "),
    ],
)
def test_signature_is_over_id_time_and_body(key, changed):
    signature = signatures.standard(MESSAGE, key=key)["webhook-signature"]
    assert signatures.standard(changed, key=key)["webhook-signature"] != signature


def test_id_with_a_full_stop_is_not_signed(key):
    with pytest.raises(AssertionError):
        signatures.standard(Message(id="msg_1.2", sent_at=1, body=b""), key=key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
def test_openssl_accepts_the_signature_and_refuses_another_body(key, tmp_path):
    # The prefix of RFC 8410 makes the 32 bytes a public key in DER.
    (tmp_path / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + PUBLIC)
    signature = signatures.standard(MESSAGE, key=key)["webhook-signature"].removeprefix("v1a,")
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))

    def verifies(signed: bytes) -> bool:
        (tmp_path / "signed").write_bytes(signed)
        command = "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -in signed -sigfile signature"
        return subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False).returncode == 0

    assert verifies(b"msg_1.1700000000." + MESSAGE.body)
    assert not verifies(b"msg_1.1700000001." + MESSAGE.body)


def test_published_key_is_written_as_both_readers_expect_it(key):
    (shown,) = signatures.public_document([("v1", key.public_text())])["keys"]
    assert base64.b64decode(shown["public_key"].removeprefix("whpk_"), validate=True) == PUBLIC
    assert base64.urlsafe_b64decode(shown["x"] + "=") == PUBLIC
    assert "=" not in shown["x"]
    assert (shown["kid"], shown["kty"], shown["crv"], shown["alg"]) == ("v1", "OKP", "Ed25519", "EdDSA")


def test_other_key_does_not_fit(key):
    other = PrivateKey.generate("v2")
    with pytest.raises(InvalidSignature):
        key.key.public_key().verify(base64.b64decode(other.sign(b"text")), b"text")


def test_transcribeapi_signs_time_and_body(key):
    headers = signatures.transcribeapi(MESSAGE, key=key)
    assert headers.keys() == {"X-TranscribeAPI-Timestamp", "X-TranscribeAPI-Signature", "X-TranscribeAPI-Key-Id"}
    assert (headers["X-TranscribeAPI-Timestamp"], headers["X-TranscribeAPI-Key-Id"]) == ("1700000000", "v1")
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(
        base64.b64decode(headers["X-TranscribeAPI-Signature"]), b'1700000000.{"name":"Zo\xc3\xab"}'
    )
