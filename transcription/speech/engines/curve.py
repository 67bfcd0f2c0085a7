"""The keys with which engine processes and their clients know each other over TCP: CURVE, ZeroMQ's own.

Each side has a secret key and knows the public key of the other one. What they say is encrypted, and a client without
an admitted key gets no answer at all (https://rfc.zeromq.org/spec/26/, read 2026-12-01). Keys are written as 64
hexadecimal digits: ZeroMQ's own spelling, Z85, has characters that shells, compose and systemd take apart ($, #, &).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from transcription.speech.errors import EngineUnavailable

_DOMAIN = "engine"
_KEY_BYTES = 32
# ZeroMQ asks the other side this often whether it is there, and gives a connection up after this silence.
_HEARTBEAT_MS, _SILENT_MS = 5_000, 20_000


@dataclass(frozen=True)
class KeyPair:
    """A new pair of keys."""

    secret: str
    public: str


@dataclass(frozen=True)
class Listener:
    """Where an engine process listens besides its local socket, and for whom.

    address: "tcp://HOST:PORT". secret_key: of the engine. client_keys: public keys of the admitted clients.
    Raises EngineUnavailable without keys. Anybody who reaches the port could use the engine.
    """

    address: str
    secret_key: str
    client_keys: Sequence[str]

    def __post_init__(self) -> None:
        if not self.address.startswith("tcp://"):
            raise EngineUnavailable("An engine listens on an address such as tcp://0.0.0.0:5590.")
        if not self.secret_key or not self.client_keys:
            raise EngineUnavailable("An engine that listens on tcp needs its secret key and the keys of its clients.")
        for key in (self.secret_key, *self.client_keys):
            to_bytes(key)

    @property
    def public_key(self) -> str:
        """The public key of this engine."""
        return public_of(self.secret_key)


def make() -> KeyPair:
    """Return a new pair of keys."""
    public, secret = (z85.decode(key).hex() for key in zmq.curve_keypair())
    return KeyPair(secret=secret, public=public)


def public_of(secret_key: str) -> str:
    """Return the public key that belongs to a secret key. Raises EngineUnavailable for what is no key."""
    return z85.decode(zmq.curve_public(z85.encode(to_bytes(secret_key)))).hex()


def to_bytes(key: str) -> bytes:
    """Return the 32 bytes of a key. Raises EngineUnavailable, without the key, for what is none."""
    try:
        found = bytes.fromhex(key)
    except ValueError:
        found = b""
    if len(found) != _KEY_BYTES:
        raise EngineUnavailable(f"A key of an engine or of its clients has {2 * _KEY_BYTES} hexadecimal digits.")
    return found


def protect_client(socket: zmq.Socket[bytes], *, server_key: str, secret_key: str) -> None:
    """Make the socket of a client talk to the engine with this public key only. Raises EngineUnavailable."""
    if not secret_key:
        raise EngineUnavailable("Engines over tcp need the secret key of a client.")
    socket.curve_serverkey = to_bytes(server_key)
    socket.curve_publickey, socket.curve_secretkey = to_bytes(public_of(secret_key)), to_bytes(secret_key)
    _watch(socket)


def protect_server(socket: zmq.Socket[bytes], *, listener: Listener) -> None:
    """Make the socket of an engine accept clients that `admission` admits only."""
    socket.curve_server = True
    socket.curve_secretkey = to_bytes(listener.secret_key)
    socket.zap_domain = _DOMAIN.encode()
    # Without the thread that looks keys up, nobody is admitted. By ZeroMQ's default everybody would be.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    _watch(socket)


@contextmanager
def admission(context: zmq.Context[zmq.Socket[bytes]], *, listener: Listener) -> Iterator[None]:
    """Look up the keys of clients, in a thread, for all sockets of this context."""
    from zmq.auth.thread import ThreadAuthenticator  # brings asyncio, which processes without TCP do not need

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    try:
        authenticator.configure_curve_callback(_DOMAIN, _Admitted(listener.client_keys))
        yield
    finally:
        authenticator.stop()


class _Admitted:
    """Answers pyzmq's authenticator."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {z85.encode(to_bytes(key)) for key in keys}

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell whether a client with this public key, in Z85, is admitted."""
        return key in self._keys


def _watch(socket: zmq.Socket[bytes]) -> None:
    """Let ZeroMQ notice a host that vanished without a word. Its own threads do this, also while Python computes."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENT_MS)
