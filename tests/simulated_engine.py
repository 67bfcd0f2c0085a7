"""An engine process that takes the time of a GPU's batch without its arithmetic: `python -m tests.simulated_engine`.

Everything else of it is real: the server, its sockets and keys, the queue of clips, and the lease in Redis. It says one
word for each clip. The keys and the Redis are in the environment, as of a real one.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from transcription.speech.engines import server
from transcription.speech.engines.base import Recognition
from transcription.speech.engines.curve import Listener
from transcription.speech.engines.leases import Announcer, Registry
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Word


class SimulatedEngine:
    """Implements `engines.base.BatchEngine`: a batch takes `batch_seconds`, however many clips are in it."""

    name, notes, languages = "simulated", (), None
    max_clip_ms = packed_ms = 10_000
    pause_ms = 400
    supported_options: frozenset[str] = frozenset()

    def __init__(self, *, max_batch: int, batch_seconds: float) -> None:
        self.max_batch, self._batch_seconds = max_batch, batch_seconds

    def prepare(self, clip: Any) -> Any:
        return len(clip)

    def bucket(self, prepared: Any, options: TranscriptionOptions) -> int:
        return 0

    def figures(self) -> dict[str, Any]:
        return {}

    def recognise_batch(
        self, prepared: Sequence[Any], options: Sequence[TranscriptionOptions]
    ) -> Iterator[tuple[int, Recognition]]:
        time.sleep(self._batch_seconds)
        for index, length in enumerate(prepared):
            yield index, Recognition((Word(f"word{length}", 0, 100, 0.9),), "en", 0.9)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("socket")
    arguments.add_argument("--listen", required=True)
    arguments.add_argument("--public-port", type=int, required=True, help="by which others reach it: a link's")
    arguments.add_argument("--max-batch", type=int, default=8)
    arguments.add_argument("--batch-seconds", type=float, required=True)
    given = arguments.parse_args()
    listener = Listener(
        given.listen, os.environ["VOXSITE_ENGINE_SECRET_KEY"], os.environ["VOXSITE_ENGINE_CLIENTS"].split(",")
    )
    engine = SimulatedEngine(max_batch=given.max_batch, batch_seconds=given.batch_seconds)
    models = ModelCache({"standard": "simulated", "premium": "simulated"}, lambda _: engine)
    announcer = Announcer(
        Registry(Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2, socket_connect_timeout=2)),
        socket=given.socket,
        address=f"tcp://{listener.public_key}@127.0.0.1:{given.public_port}",
        device="simulated",
    )
    announcer.start()
    try:
        server.serve(Recogniser(models), address=given.socket, listener=listener)
    finally:
        announcer.stop()


if __name__ == "__main__":
    main()
