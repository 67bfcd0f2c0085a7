"""Several web processes on one host: they share a socket, take each other's place and end together."""

import re
import resource
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
import requests

from tests.apex import site as sites
from tests.product import PROJECT_DIR
from voxsite.serve import web_processes

pytestmark = pytest.mark.enable_socket

TOKEN = "prometheus-" + "x" * 30
# Long enough for what a busy machine does meanwhile.
DRAIN, GRACE = 15, 6
# Processes that say who they are and then do what the rest of the program says.
PROGRAM = """
import logging, os, signal, sys, time
from voxsite.serve import web_processes
logging.basicConfig(stream=sys.stdout, format="%(message)s")
def say(*words):
    # All of a line at once, since several processes write it.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def serve(context):
    say("begins", context.number, os.environ["SUPERVISOR_PROCESS_NAME"], os.getpid() == os.getpgid(0))
    {body}
sockets = web_processes.listen("127.0.0.1", 0)
web_processes.run(serve, count=2, sockets=sockets)
say("over")
"""


@contextmanager
def started(body):
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    with subprocess.Popen(
        command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as parent:
        try:
            yield parent
        finally:
            parent.kill()


def wait_until(is_true):
    ends_at = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_each_address_of_a_host_has_its_socket():
    sockets = web_processes.listen("localhost", 0)
    try:
        assert {one.family for one in sockets} <= {socket.AF_INET, socket.AF_INET6}
        for one in sockets:
            socket.create_connection(one.getsockname()[:2], timeout=5).close()
    finally:
        for one in sockets:
            one.close()


@pytest.mark.long
def test_signal_is_passed_on_to_each_once_and_waited_for():
    body = """
    told = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    say("ready")
    while not told:
        time.sleep(0.01)
    time.sleep(0.5)
    say("told", len(told), bool(context.host_stops))"""
    with started(body) as parent:
        lines = [parent.stdout.readline() for _ in range(4)]
        assert sorted(line for line in lines if "begins" in line) == ["begins 1 web-1 True\n", "begins 2 web-2 True\n"]
        parent.terminate()
        assert parent.communicate(timeout=30)[0].splitlines() == ["told 1 True", "told 1 True", "over"]
    assert parent.returncode == 0


@pytest.mark.long
def test_process_that_ends_is_started_again_and_one_that_cannot_start_after_growing_pauses():
    body = """
    if context.number == 2:
        sys.exit(3)
    time.sleep(60)"""
    with started(body) as parent:
        said = []
        while len([line for line in said if "starting it again" in line]) < 3:
            said.append(parent.stdout.readline())
        pauses = [re.search(r"web-2 ended \(3\); starting it again in (\d) s", line) for line in said]
        assert [int(found[1]) for found in pauses if found] == [1, 2, 3]
        assert said.count("begins 1 web-1 True\n") == 1
        parent.terminate()
        assert parent.communicate(timeout=30)[0].endswith("over\n")


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process")
def test_process_that_cannot_be_forked_is_started_later_and_the_others_serve_on():
    with started("time.sleep(60)") as parent:
        for _ in range(2):
            parent.stdout.readline()
        killed, other = psutil.Process(parent.pid).children()
        limits = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)
        # A fork needs pipes, for which there is no descriptor now.
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        killed.kill()
        said = parent.stdout.readline()
        while "cannot be started" not in said:
            assert "ended (-9)" in said
            said = parent.stdout.readline()
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, limits)
        while "begins" not in said:
            assert "cannot be started" in said
            said = parent.stdout.readline()
        assert other in psutil.Process(parent.pid).children()
        parent.terminate()
        assert parent.communicate(timeout=30)[0].endswith("over\n")
    assert parent.returncode == 0


@pytest.mark.long
def test_killed_parent_leaves_no_process():
    with started("time.sleep(60)") as parent:
        for _ in range(2):
            parent.stdout.readline()
        children = psutil.Process(parent.pid).children()
        assert len(children) == 2
        parent.kill()
        assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.long
def test_two_processes_serve_on_one_port_count_together_and_replace_each_other(tmp_path):
    # Without an engine, for which each look would wait for seconds.
    switches = {"VOXSITE_WEB_PROCESSES": "2", "VOXSITE_METRICS_TOKEN": TOKEN, "VOXSITE_ENGINES": "0"}
    with sites.running(tmp_path, **switches) as site:
        parent = psutil.Process(site.process.pid)
        wait_until(lambda: len(_serving(site)) == 2)
        before = _requests(site)
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(lambda _: _status(site, "/docs/"), range(64))) == {200}
        # Whichever of the two answers, it knows all requests, a moment after their responses.
        wait_until(lambda: _requests(site) == before + 64)
        assert [_requests(site) for _ in range(6)] == [before + 64] * 6
        killed, other = parent.children()
        killed.kill()
        assert [_status(site, "/health") for _ in range(20)] == [200] * 20
        wait_until(lambda: len(_serving(site)) == 2)
        assert {int(pid) for pid in _serving(site)} >= {other.pid}
        assert killed.pid not in {process.pid for process in parent.children()}
        assert _requests(site) == before + 64
        below = parent.children(recursive=True)
        site.process.terminate()
        assert site.process.wait(30) == 0
        assert psutil.wait_procs(below, timeout=30)[1] == []


@pytest.mark.long
def test_process_that_ends_alone_leaves_its_connections_to_the_other_and_a_whole_host_drains(tmp_path):
    switches = {
        "VOXSITE_WEB_PROCESSES": "2",
        "VOXSITE_ENGINES": "0",
        "VOXSITE_WEB_DRAIN_SECONDS": str(DRAIN),
        "VOXSITE_WEB_GRACE_SECONDS": str(GRACE),
    }
    with sites.running(tmp_path, **switches) as site:
        parent = psutil.Process(site.process.pid)
        first, second = parent.children()
        sessions = []
        # Connections that stay open, until each process has some.
        while not all(_connections(process) for process in (first, second)):
            assert len(sessions) < 400
            more = [requests.Session() for _ in range(20)]
            with ThreadPoolExecutor(len(more)) as pool:
                list(pool.map(lambda session: session.get(f"{site.address}/health", timeout=30), more))
            sessions += more
        first.send_signal(signal.SIGTERM)
        wait_until(lambda: not _listens(first))
        # A load balancer that connects finds the other one.
        assert {_status(site, "/health/serving") for _ in range(10)} == {200}
        answers = [session.get(f"{site.address}/health", timeout=30) for session in sessions]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers.get("Connection") for answer in answers} == {None, "close"}
        wait_until(lambda: not first.is_running() and len(parent.children()) == 2)
        wait_until(lambda: all(_listens(process) for process in parent.children()))

        site.process.terminate()
        wait_until(lambda: {_status(site, "/health/serving") for _ in range(10)} == {503})
        assert {_status(site, "/health") for _ in range(10)} == {200}
        site.process.wait(DRAIN + GRACE + 30)


def _status(site, path):
    return requests.get(f"{site.address}{path}", timeout=30).status_code


def _told(site):
    return requests.get(f"{site.address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30).text


def _requests(site):
    """Return how many requests of the docs were answered, as Prometheus is told."""
    found = re.findall(r'^voxsite_http_requests_total\{[^}]*view="docs"[^}]*\} (\S+)$', _told(site), re.MULTILINE)
    return sum(map(float, found))


def _serving(site):
    """Return the ids of the processes that Prometheus is told of, if all of them listen."""
    count = len(re.findall(r"^process_open_fds\{", _told(site), re.MULTILINE))
    pids = [process.pid for process in psutil.Process(site.process.pid).children() if _listens(process)]
    return pids if len(pids) == count else []


def _connections(process):
    return [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]


def _listens(process):
    try:
        return any(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False
