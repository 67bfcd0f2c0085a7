"""One request to a real receiver, and every way in which it can go wrong."""

import asyncio
import socket
import uuid

import pytest

from tests.transcription.hostile_addresses import HOSTILE, attackers_dns
from transcription import outbound
from transcription.models import Fault
from transcription.webhooks import sending
from transcription.webhooks.delivery import Request
from transcription.webhooks.lanes import Receiver


def send(url, *, headers=None, **options):
    request = Request(
        delivery_id="msg_1",
        attempt=1,
        receiver=Receiver(uuid.UUID(int=1), "host"),
        url=url,
        headers=headers or {},
        body=b"{}",
    )
    return asyncio.run(sending.send(request, **options))


@pytest.mark.parametrize("code", [200, 201, 204, 299])
def test_success_is_any_2xx(receiver, code):
    result = send(receiver.url(f"/status?code={code}"))
    assert (result.status, result.fault) == (code, None)


@pytest.mark.parametrize(
    ("code", "fault"),
    [(301, Fault.REDIRECT), (307, Fault.REDIRECT), (400, Fault.STATUS), (410, Fault.GONE), (500, Fault.STATUS)],
)
def test_other_status_is_a_fault(receiver, code, fault):
    result = send(receiver.url(f"/status?code={code}"))
    assert (result.status, result.fault) == (code, fault)
    assert str(code) in result.detail or fault == Fault.REDIRECT


@pytest.mark.long
@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_address_gets_no_webhook(url, monkeypatch):
    monkeypatch.setattr(outbound, "ask_resolver", attackers_dns)
    result = send(url)
    assert (result.status, result.fault) == (None, Fault.REFUSED)
    assert result.detail


def test_host_that_does_not_exist(receiver, settings):
    result = send("https://nowhere.invalid/")
    assert (result.status, result.fault) == (None, Fault.UNKNOWN_HOST) or result.fault == Fault.UNREACHABLE
    assert result.detail


def test_port_where_nobody_listens(settings):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    settings.ALLOWED_PRIVATE_ADDRESSES = [f"127.0.0.1:{port}"]
    result = send(f"http://127.0.0.1:{port}/")
    assert (result.status, result.fault) == (None, Fault.UNREACHABLE)


def test_receiver_that_is_silent(receiver):
    result = send(receiver.url("/silent"), total_seconds=0.2)
    assert (result.status, result.fault) == (None, Fault.TIMEOUT)


def test_answer_that_never_ends_counts_by_its_status(receiver):
    receiver.content = b"first half, second half"
    result = send(receiver.url("/half"), body_seconds=0.2)
    assert (result.status, result.fault) == (200, None)
    assert result.body == "first half,"


def test_only_the_beginning_of_an_answer_is_kept(receiver):
    result = send(receiver.url("/endless"))
    assert (result.status, result.fault, len(result.body)) == (200, None, 0)
    receiver.content = b"a" * 100_000
    assert send(receiver.url("/whole")).body == "a" * sending.MAX_BODY_BYTES


def test_answer_is_kept_as_the_database_can_store_it(receiver):
    receiver.content = b"a\0b\xff"
    assert send(receiver.url("/whole")).body == "ab\ufffd"


def test_cookies_of_a_receiver_are_not_kept():
    kept = sending._logged({"Set-Cookie": "a=b", "X-Long": "a" * 1000, "X-Odd": "a\0\udcff"})
    assert kept == {"X-Long": "a" * sending.MAX_HEADER_LENGTH, "X-Odd": "a?"}
    assert len(sending._logged({f"X-{number}": "" for number in range(100)})) == sending.MAX_HEADERS


def test_fault_of_ours_is_logged_and_no_fault_of_the_receiver(receiver, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("bug")

    monkeypatch.setattr(outbound, "call", broken)
    result = send(receiver.url("/whole"))
    assert (result.status, result.fault) == (None, Fault.INTERRUPTED)
    assert "bug" in caplog.text
    assert "bug" not in result.detail


def test_every_error_of_the_door_has_a_fault():
    named = {kind for kind, _ in sending.FAULTS}
    others = {outbound.Unreachable, outbound.Broken, outbound.TooLarge}
    assert set(outbound.OutboundError.__subclasses__()) == named | others
