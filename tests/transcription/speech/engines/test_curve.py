"""Engines over TCP: who has the right keys is answered, and nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys

import numpy as np
import pytest
import zmq

from tests.fixtures import recordings
from tests.transcription.speech.conftest import running
from tests.transcription.speech.engines.recognising import heard
from transcription.speech import errors
from transcription.speech.engines import client, curve, protocol, remote


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def keys():
    """The keys of the engine, of its client, and of a stranger."""
    return curve.make(), curve.make(), curve.make()


@pytest.fixture
def listening(address, keys):
    """The tcp:// address, with its key, of an engine process that listens there too."""
    engine, admitted, _ = keys
    place = f"127.0.0.1:{free_port()}"
    words = ("--listen", f"tcp://{place}", "--client-key", curve.make().public, "--client-key", admitted.public)
    with running(address, "pocketsphinx", *words, VOXSITE_ENGINE_SECRET_KEY=engine.secret):
        yield f"tcp://{engine.public}@{place}"


@pytest.mark.long
def test_only_the_right_keys_are_answered(listening, keys, clip, address):
    engine, admitted, stranger = keys
    text = recordings.named("sentence-slt.wav").text
    far = remote.RemoteEngine(listening, timeout_seconds=30, secret_key=admitted.secret)
    assert heard(far, [clip, np.zeros(1600, dtype=np.float32), clip]) == [text, "", text]
    far.close()
    near = remote.RemoteEngine(address, timeout_seconds=30)
    assert heard(near, [clip]) == [text]

    place = listening.partition("@")[2]
    assert client.health(listening, 5, secret_key=admitted.secret) is not None
    # A stranger, a client that takes the engine for another one, and one that speaks without keys.
    assert client.health(listening, 1, secret_key=stranger.secret) is None
    assert client.health(f"tcp://{stranger.public}@{place}", 1, secret_key=admitted.secret) is None
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        plain.connect(f"tcp://{place}")
        plain.send(protocol.pack({"kind": "ping", "id": "1"}))
        assert not plain.poll(1000)
    with pytest.raises(errors.EngineUnavailable):
        client.health(listening, 1)
    assert client.health(listening, 5, secret_key=admitted.secret) is not None

    # The same port cannot be used twice; the second process says so and ends.
    words = ["--listen", f"tcp://{place}", "--client-key", admitted.public]
    second = subprocess.run(
        [sys.executable, "-m", "transcription.speech.engines.server", "pocketsphinx", f"{address}-2", *words],
        env={"VOXSITE_ENGINE_SECRET_KEY": engine.secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "cannot listen" in second.stderr


@pytest.mark.parametrize(
    ("secret", "clients"),
    [("", ["0" * 64]), ("0" * 64, []), ("short", ["0" * 64]), ("0" * 64, ["z" * 64])],
    ids=["no-own-key", "no-clients", "short-key", "no-digits"],
)
def test_engine_does_not_listen_without_keys(secret, clients):
    with pytest.raises(errors.EngineUnavailable) as raised:
        curve.Listener("tcp://127.0.0.1:5590", secret, clients)
    assert "short" not in raised.value.message


def test_engine_does_not_listen_in_the_clear_by_another_way():
    with pytest.raises(errors.EngineUnavailable):
        curve.Listener("ws://127.0.0.1:5590", "0" * 64, ["0" * 64])


def test_public_key_belongs_to_the_secret_one():
    pair = curve.make()
    assert curve.public_of(pair.secret) == pair.public
    assert len(pair.public) == len(pair.secret) == 64
    assert curve.Listener("tcp://0.0.0.0:5590", pair.secret, [pair.public]).public_key == pair.public
