"""Says the address once the page really answers, and what stands in for the parts that production would have."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from voxsite import env
from voxsite.serve import config, embedded_redis, is_healthy

WAIT_SECONDS = 60.0


def stand_ins(environ: Mapping[str, str]) -> str:
    """Return one line on what is used for the database, the queue and speech."""
    database = environ.get("DATABASE_URL", "").split(":")[0] or "SQLite (no DATABASE_URL)"
    embedded = environ["REDIS_URL"].startswith("unix:")
    redis = f"{embedded_redis.executable()} (no REDIS_URL)" if embedded else "Redis by REDIS_URL"
    speech = environ.get("VOXSITE_ENGINE") or "auto"
    if speech == "auto":
        speech = _chosen_engine(Path(environ["VOXSITE_DATA_DIR"]))
    if speech == "pocketsphinx":
        speech = "PocketSphinx, for development only: it knows English alone and errs often"
    return f"database: {database}; queue: {redis}; speech: {speech}"


def _chosen_engine(data_dir: Path) -> str:
    """Return what the engine process made of "auto", as far as it is known yet."""
    try:
        return str(json.loads((data_dir / "engine.json").read_text())["engine"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not chosen yet; Whisper if its model is on this machine or can be downloaded, else PocketSphinx"


def main() -> None:
    """Wait for the page and print."""
    server_config = config.read()
    deadline = time.monotonic() + WAIT_SECONDS
    while not (answers := is_healthy.page_answers(server_config)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if answers:
        took = time.time() - float(env.text("VOXSITE_STARTED_AT", default=str(time.time())))
        print(f"Voxsite is at {server_config.address} (started in {took:.1f} s; Ctrl-C ends it)")  # noqa: T201
    else:
        print(f"{server_config.address} has not answered for {WAIT_SECONDS:.0f} s; the lines above may say why")  # noqa: T201
    print(stand_ins(os.environ))  # noqa: T201


if __name__ == "__main__":
    main()
