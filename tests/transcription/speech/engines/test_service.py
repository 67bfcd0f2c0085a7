from __future__ import annotations

import threading

import pytest

from tests.transcription.speech.fakes import FakeServer
from transcription.speech.engines.service import Request, SerialService
from transcription.speech.errors import OptionError, Stopped


def test_ready_made_service_answers_one_by_one():
    def prepare():
        def work(message, frames, should_stop):
            if message.get("bad"):
                raise OptionError("no")
            return {"length": len(frames[0]) // message["divisor"]}

        return work

    service = SerialService("measure", prepare, max_frame_bytes=100)
    asked = FakeServer(service)
    for number, fields in enumerate(({"divisor": 2}, {"bad": 1}, {"divisor": 0})):
        service.submit(Request(str(number), "measure", b"", fields, [b"1234"]))
    answers = asked.wait(3)
    service.stop()
    assert answers["0"] == {"kind": "result", "length": 2}
    assert answers["1"]["error"]["type"] == "invalid_option"
    assert answers["2"]["error"]["type"] == "engine_failed"


@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_ready_made_service_ends_what_nobody_waits_for(how):
    begun = threading.Event()

    def work(message, frames, should_stop):
        begun.set()
        while not should_stop():
            assert not never.wait(0.01)
        raise Stopped

    never = threading.Event()
    service = SerialService("measure", lambda: work, max_frame_bytes=100)
    asked = FakeServer(service)
    service.submit(Request("1", "measure", b"", {}, []))
    assert begun.wait(60)
    assert service.health()["is_working"]
    service.cancel(["another"])
    assert service.health()["is_working"]
    service.cancel(["1"]) if how == "cancel" else service.stop()
    assert asked.wait(1)["1"]["error"]["type"] == "stopped"
    assert (service.health()["stopped"], service.health()["is_working"]) == (1, False)
    service.stop()
