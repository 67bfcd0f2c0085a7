"""The world of the tests: a data folder of their own and a Redis, made before the settings are read (see addopts)."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import database
from voxsite.serve import embedded_redis

os.environ.setdefault("VOXSITE_ENV", "development")
# Tests pay in the sandbox, whatever the shell that starts them is set up for.
for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
    os.environ.pop(name, None)
# No test downloads a model by accident, nor a product under test. Those that mean to say so themselves.
os.environ["VOXSITE_MODEL_PACKAGES"] = "0"
# With it Django would let a synchronous database call block the event loop, here and in the products under test.
os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)
# Containers set it, and then every worker and every product under test would compile all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if "PYTEST_XDIST_WORKER" not in os.environ:
    folder = Path(tempfile.mkdtemp(prefix="voxsite-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["VOXSITE_TEST_DIR"] = str(folder)

worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
os.environ["VOXSITE_DATA_DIR"] = str(Path(os.environ["VOXSITE_TEST_DIR"]) / worker)

# 64 on the embedded Redis; other servers have 16 unless they are told otherwise.
redis_databases = 16 if os.environ.get("REDIS_URL") else 64
if not os.environ.get("REDIS_URL"):
    process, os.environ["REDIS_URL"] = embedded_redis.start(Path(os.environ["VOXSITE_TEST_DIR"]))
    atexit.register(embedded_redis.stop, process)

# Every worker has a Redis database of its own, counted up from the one that is named: tests empty it.
parts = urlsplit(os.environ["REDIS_URL"])
if parts.scheme == "unix":
    os.environ["REDIS_URL"] = f"unix://{parts.path}?db={worker}"
else:
    first_database = int(parts.path.strip("/") or 0)
    redis_databases -= first_database
    os.environ["REDIS_URL"] = parts._replace(path=f"/{first_database + int(worker)}").geturl()


# Thousands of tests and their modules stay, so that a collection of garbage finds little: 10 % of the time to collect
# tests was spent on it.
gc.set_threshold(100_000, 50, 100)

# The files that take longest, in seconds: they wait for processes that they start, or recognise much. Files of a folder
# that is named share one product, which one process then starts.
LONG_FILES = {
    "tests/apex/test_views.py": 60,
    "tests/whole": 30,
    "tests/transcription/speech/diarizers/test_neural.py": 25,
    "tests/transcription/speech/test_pipeline.py": 25,
    "tests/transcription/speech/engines/test_faster_whisper.py": 20,
    "tests/transcription/speech/test_packet_meter.py": 16,
    "tests/transcription/speech/test_pipeline_channels.py": 15,
    "tests/voxsite/serve/test_http_protocol.py": 15,
    "tests/billing/test_invoices.py": 12,
    "tests/transcription/speech/test_pipeline_languages.py": 12,
    "tests/voxsite/test_body_guard.py": 12,
    "tests/transcription/speech/engines/test_model_packages.py": 10,
    "tests/transcription/speech/test_cutting.py": 10,
    "tests/transcription/speech/test_probing.py": 10,
    "tests/apex/test_openai_package.py": 8,
}

making_template: list[subprocess.Popen[bytes]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Begin to migrate while the processes that `-n` starts collect."""
    if getattr(config.option, "numprocesses", 0):
        making_template.append(subprocess.Popen(database.MAKE))


def pytest_unconfigure() -> None:
    for process in making_template:
        process.wait()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        database.drop_template()


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes that `-n auto` starts: two for each core that this process may use.

    Half of the tests' time is waiting: 8,400 tests took 368 s in four processes on two cores. pytest-xdist itself
    counts the cores of the machine, which is too many inside a container or under taskset.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    except (OSError, ValueError):
        pass  # No cgroup, or one without a limit ("max").
    return min(2 * cores, redis_databases)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with long files when several processes share the tests. All of them must come to the same order."""
    process_count = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if process_count > 1:
        items[:] = long_files_first(items, process_count=process_count)


def pytest_collection_finish() -> None:
    """Leave all that was imported and collected out of later collections of garbage, which cost 0.5 s each with it.

    pytest collects twice at its end, to find what was not closed; what a test makes is still looked at.
    """
    gc.freeze()


def long_file_of(item: pytest.Item) -> str:
    """Return the path in LONG_FILES, of a file or its folder, that a test belongs to; empty without."""
    path = item.nodeid.partition("::")[0]
    return next((each for each in (path, path.rpartition("/")[0]) if each in LONG_FILES), "")


def long_files_first(items: Sequence[pytest.Item], *, process_count: int) -> list[pytest.Item]:
    """Return the tests with a fair share of LONG_FILES at the beginning of each process's part.

    pytest-xdist gives each process a part of the list, all of one size. A process that has done its part takes half of
    what another one has left, from the end of it. A long file that one process begins last is waited for by all others.
    """
    long: dict[str, list[pytest.Item]] = {}
    others: list[pytest.Item] = []
    for item in items:
        path = long_file_of(item)
        (long.setdefault(path, []) if path else others).append(item)
    shares: list[list[str]] = [[] for _ in range(process_count)]
    for path in sorted(long, key=lambda path: (-LONG_FILES[path], path)):
        min(shares, key=lambda share: sum(LONG_FILES[path] for path in share)).append(path)
    rest, left, ordered = iter(others), len(items), []
    for number, share in enumerate(shares):
        size = left // (process_count - number)
        left -= size
        part = [item for path in share for item in long[path]]
        ordered += part + list(islice(rest, max(0, size - len(part))))
    return [*ordered, *rest]
