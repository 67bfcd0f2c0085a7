"""The supervisor: it starts again what dies, prints whole lines, and leaves no process."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
from supervisor import events

from tests.voxsite.serve.servers import START_SECONDS, STOP_SECONDS
from voxsite.serve import supervision
from voxsite.serve.programs import ANNOUNCE

pytestmark = pytest.mark.enable_socket


def test_each_line_names_its_process_and_is_whole(capsys):
    console = supervision._Console()

    def print_in(name, text):
        process = SimpleNamespace(config=SimpleNamespace(name=name), group=None)
        console.show_output(events.ProcessLogStdoutEvent(process, 1, text))

    print_in("web", b"star")
    print_in("clock", b"tick\n")
    print_in("web", b"ted\nnext")
    print_in(ANNOUNCE, b"Voxsite is at http://localhost/\r\n")
    print_in("web", b" \xff\n")
    assert capsys.readouterr().out.splitlines() == [
        "clock    | tick",
        "web      | started",
        "server   | Voxsite is at http://localhost/",
        "web      | next \ufffd",
    ]


def test_lines_of_a_log_in_json_are_left_alone_and_all_others_become_such_lines(capsys, monkeypatch):
    monkeypatch.setenv("VOXSITE_LOG_FORMAT", "json")
    console = supervision._Console()
    process = SimpleNamespace(config=SimpleNamespace(name="web"), group=None)
    text = b'{"program": "web", "message": "said"}\nprinted "so"\n'
    console.show_output(events.ProcessLogStdoutEvent(process, 1, text))
    supervision.say("stopping")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"program": "web", "message": "said"},
        {"program": "web", "message": 'printed "so"'},
        {"program": "server", "message": "stopping"},
    ]


@pytest.mark.whole
@pytest.mark.slow
def test_server_restarts_what_dies_and_leaves_nothing(server):
    server.wait(server.answers, seconds=START_SECONDS)
    server.wait(lambda: all(map(server.named, ("worker", "engine", "clock"))), seconds=START_SECONDS)
    before = server.named("worker")
    assert len(before) == 2

    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    server.wait(lambda: len(now := server.named("worker")) == 2 and victim not in now, seconds=60)
    server.wait(lambda: "Voxsite is at" in server.log(), seconds=START_SECONDS)
    assert "rq.worker" not in server.log()

    server.descendants()
    server.process.terminate()
    server.process.wait(timeout=STOP_SECONDS)
    assert server.process.returncode == 0, server.log()
    assert server.left() == []
