"""Prints the address when the page answers, and which database, queue and speech engine are used."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from voxsite import env
from voxsite.serve import config, embedded_redis, is_healthy

WAIT_SECONDS = 60.0
# The engine process asks the hub before it knows what it will do.
CHOICE_SECONDS = 15.0
NOT_CHOSEN = "not chosen yet; Whisper if its model is on this machine or can be downloaded, else PocketSphinx"


def stand_ins(environ: Mapping[str, str]) -> str:
    """Return one line that names the database, the queue and the speech engine."""
    database = environ.get("DATABASE_URL", "").split(":")[0] or "SQLite (no DATABASE_URL)"
    embedded = environ["REDIS_URL"].startswith("unix:")
    redis = f"{embedded_redis.executable()} (no REDIS_URL)" if embedded else "Redis by REDIS_URL"
    speech = environ.get("VOXSITE_ENGINE") or "auto"
    if speech == "auto":
        speech = _chosen_engine(Path(environ["VOXSITE_DATA_DIR"]))
    if speech == "faster_whisper":
        speech = "Whisper"
    if speech == "pocketsphinx":
        speech = "PocketSphinx, for development only: English only, many mistakes"
    return f"database: {database}; queue: {redis}; speech: {speech}"


def _chosen_engine(data_dir: Path) -> str:
    """Return the engine that the engine process chose for "auto", or that it has not chosen yet."""
    try:
        choice = json.loads((data_dir / "engine.json").read_text())
        if choice["is_final"]:
            return str(choice["engine"])
        if choice["total_bytes"]:
            megabytes = choice["total_bytes"] // 1_000_000
            return f"Whisper, which is being downloaded once ({megabytes} MB); recordings wait for it"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return NOT_CHOSEN


def main() -> None:
    """Wait until the page answers, then print."""
    server_config = config.read()
    deadline = time.monotonic() + WAIT_SECONDS
    while not (answers := is_healthy.page_answers(server_config)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if answers:
        took = time.time() - float(env.text("VOXSITE_STARTED_AT", default=str(time.time())))
        print(f"Voxsite is at {server_config.address} (started in {took:.1f} s; Ctrl-C ends it)")
    else:
        print(f"{server_config.address} has not answered for {WAIT_SECONDS:.0f} s; the lines above may say why")
    deadline = time.monotonic() + CHOICE_SECONDS
    while (said := stand_ins(os.environ)).endswith(NOT_CHOSEN) and time.monotonic() < deadline:
        time.sleep(0.2)
    print(said)


if __name__ == "__main__":
    main()
