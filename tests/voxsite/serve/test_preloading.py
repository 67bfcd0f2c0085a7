"""What the supervisor loads for all of its processes."""

import subprocess
import sys

import pytest

from tests.product import PROJECT_DIR, environment_of

WHAT_IS_THERE = """
import os, sys, threading
from voxsite.serve import preloading
before = set(os.listdir("/proc/self/fd"))
preloading.load()
from django.apps import apps
from django.db import connections
assert apps.ready
# A fork has neither the other threads nor connections of its own.
print(threading.active_count(), len(set(os.listdir("/proc/self/fd")) - before))
print([name for name in connections if connections[name].connection is not None])
# These read at once how many threads they may start, which differs by program.
print([name for name in ("numpy", "onnxruntime", "ctranslate2") if name in sys.modules])
"""


def run(code, **switches):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_DIR,
        env=environment_of(DJANGO_SETTINGS_MODULE="voxsite.settings", **switches),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_is_loaded_that_a_fork_could_not_use(tmp_path):
    done = run(WHAT_IS_THERE, VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(tmp_path))
    assert done.stdout.splitlines() == ["1 0", "[]", "[]"], done.stderr


def test_bad_setting_is_told_in_a_sentence(tmp_path):
    code = """
from voxsite.serve import config, preloading
try:
    preloading.load()
except config.StartError as error:
    print(error)
"""
    done = run(code, VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(tmp_path), VOXSITE_ENGINE_BATCH="many")
    assert done.stdout == "VOXSITE_ENGINE_BATCH must be a whole number, not 'many'.\n", done.stderr


@pytest.mark.parametrize(("switches", "size"), [({}, 16), ({"VOXSITE_DATABASE_POOL": "5"}, 5)])
def test_only_the_process_that_becomes_web_shares_connections(tmp_path, switches, size):
    """The settings are read before anybody knows which program a fork becomes."""
    code = """
import os
from voxsite.serve import preloading
preloading.load()
from django.db import connection
pid = os.fork()
if pid == 0:
    from voxsite import asgi
    asgi.share_connections()
    print("web", connection.settings_dict["OPTIONS"]["pool"]["max_size"], flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print("others", connection.settings_dict["OPTIONS"].get("pool"))
"""
    place = {"VOXSITE_ENV": "development", "VOXSITE_DATA_DIR": str(tmp_path)}
    done = run(code, DATABASE_URL="postgresql://postgres@localhost/none", REDIS_URL="redis://x", **place, **switches)
    assert done.stdout.splitlines() == [f"web {size}", "others None"], done.stderr
