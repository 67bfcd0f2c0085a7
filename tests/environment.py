"""The world of the tests: a data folder of their own and a Redis, made before the settings are read (see addopts)."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
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
    """Return the number of processes that `-n auto` starts: three for two cores that this process may use.

    Half of the tests' time is waiting. pytest-xdist itself counts the cores of the machine, which is too many inside a
    container or under taskset.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    except (OSError, ValueError):
        pass  # No cgroup, or one without a limit ("max").
    return min(cores + cores // 2, redis_databases) or 1
