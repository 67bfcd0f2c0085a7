"""Clips of speech, and a small server in place of an engine process that behaves badly."""

from __future__ import annotations

import threading

import pytest
import zmq

from tests.fixtures import recordings, tiny_whisper
from tests.transcription.speech.engines.recognising import load
from transcription.speech.engines import protocol, remote


@pytest.fixture
def clip():
    return load(recordings.named("sentence-slt.wav").path)


@pytest.fixture(scope="module")
def spoken():
    """(text, clip) of short recordings in two languages that the tiny Whisper recognises without errors."""
    names = ("en-hello.wav", "es-hola.wav", "en-meeting.flac", "es-reunion.flac")
    return [(tiny_whisper.samples()[name].text, load(tiny_whisper.SAMPLES / name)) for name in names]


@pytest.fixture
def small_server(address, monkeypatch):
    """Return a function that starts a server with a given answer for each request, and returns its client."""
    path = protocol.socket_path(address)
    path.parent.mkdir(parents=True)
    is_over = threading.Event()
    described = {
        "name": "small",
        "languages": None,
        "max_clip_ms": 30_000,
        "pause_ms": 600,
        "packed_ms": 30_000,
        "notes": [],
        "supported_options": [],
        "in_flight": 4,
    }
    threads = []

    def start(answer):
        def serve():
            with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
                router.linger = 0
                router.bind(address)
                while not is_over.is_set():
                    if not router.poll(50):
                        continue
                    client, packed, *frames = router.recv_multipart()
                    message = protocol.unpack(packed)
                    if message["kind"] == "ping":
                        pong = {"kind": "pong", "unknown": [], "waiting": 0, "engine": described, "engines": {}}
                        router.send_multipart([client, protocol.pack({"id": message["id"], **pong})])
                    elif message["kind"] == "recognise":
                        reply = {"id": message["id"], **answer(message, frames)}
                        router.send_multipart([client, protocol.pack(reply)])

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return remote.RemoteEngine(address, timeout_seconds=10)

    yield start
    is_over.set()
    for thread in threads:
        thread.join(timeout=60)
