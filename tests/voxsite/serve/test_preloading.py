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
print(len(os.listdir("/proc/self/task")), threading.active_count(), len(set(os.listdir("/proc/self/fd")) - before))
print([name for name in connections if connections[name].connection is not None])
# These read at once how many threads they may start, which differs by program, or break in a fork.
print([name for name in ("ctranslate2", "faster_whisper", "torch", "pocketsphinx") if name in sys.modules])
"""
# Segmentation and voice print in a fork of a fork, as in a child of a worker, and in a thread of it.
NETWORKS_IN_FORKS = """
import os, threading, time
before = dict(os.environ)
from voxsite.serve import preloading
preloading.load()
assert dict(os.environ) == before, "programs have threads of their own number"
def run():
    import numpy
    from transcription.speech.diarizers import networks
    scores = networks.segment(numpy.zeros((1, 160_000), dtype=numpy.float32))
    frames = networks.voice_frames(numpy.ones((100, 80), dtype=numpy.float32))
    print(scores.shape, frames.shape, flush=True)
def go_on(depth):
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        return
    if depth:
        go_on(depth - 1)
    else:
        from transcription.speech.diarizers import networks
        misses = networks._segmentation.cache_info().misses, networks._prints.cache_info().misses
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        # It is listed for a moment longer. Threads that a network has would stay.
        ends_at = time.monotonic() + 10
        while (threads := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert misses == (networks._segmentation.cache_info().misses, networks._prints.cache_info().misses)
        print(misses, threads, flush=True)
    os._exit(0)
go_on(1)
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


@pytest.mark.parametrize("load", ["load", "load_web"])
def test_nothing_is_loaded_that_a_fork_could_not_use(tmp_path, load):
    done = run(
        WHAT_IS_THERE.replace("preloading.load()", f"preloading.{load}()"),
        VOXSITE_ENV="development",
        VOXSITE_DATA_DIR=str(tmp_path),
    )
    assert done.stdout.splitlines() == ["1 1 0", "[]", "[]"], done.stderr


@pytest.mark.long
@pytest.mark.parametrize("module", ["vad", "diarizers.networks"])
def test_onnxruntime_reports_nothing_to_its_maker(tmp_path, module):
    """It would keep a number of the machine and a database in the home folder, which nobody would find."""
    code = f"""
import os
from transcription.speech import {module.split(".")[0]}
from transcription.speech.{module} import load
load()
print(len(os.listdir("/proc/self/task")))
"""
    # It reports nothing anyway where it takes its surroundings for those of automatic tests.
    done = run(code, HOME=str(tmp_path), OMP_NUM_THREADS="1", CI="", GITHUB_ACTIONS="")
    assert done.stdout == "1\n", done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_missing_network_stops_neither_web_nor_money(tmp_path):
    code = """
import sys
# As if its wheel could not be loaded here.
sys.modules["onnxruntime"] = None
from voxsite.serve import preloading
preloading.load()
print("loaded")
"""
    done = run(code, VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(tmp_path))
    assert done.stdout == "loaded\n", done.stderr
    assert "What workers share was not loaded" in done.stderr


@pytest.mark.long
def test_workers_find_the_networks_loaded(tmp_path):
    done = run(NETWORKS_IN_FORKS, VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(tmp_path))
    assert done.stdout.splitlines() == ["(1, 589, 7) (50, 512)", "(1, 1) 1"], done.stderr


def test_pages_are_loaded(tmp_path):
    code = """
import sys
from voxsite.serve import preloading
preloading.load()
print([name for name in ("voxsite.urls", "accounts.pages", "transcription.worker") if name not in sys.modules])
"""
    done = run(code, VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(tmp_path))
    assert done.stdout == "[]\n", done.stderr


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
