"""The chat endpoint over HTTP when its upstream fails or its client leaves: what is answered, and what it costs."""

import json
import socket
import time

import psutil
import pytest
import requests

from tests.apex import exchange
from tests.apex.answers import assert_charged_once, assert_released, chunks, count, error_of, text_of

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(600)]

# --- Upstreams that fail before the first chunk ----------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scenario", "status", "finish"),
    [
        ("status 401", 502, "upstream_failed"),
        ("status 403", 502, "upstream_failed"),
        ("status 404", 502, "upstream_failed"),
        ("status 500", 502, "upstream_failed"),
        ("redirect", 502, "upstream_failed"),
        ("not-json", 502, "upstream_failed"),
        ("refuse", 400, "refused_by_model"),
    ],
)
def test_failure_before_the_first_chunk_is_an_error_and_costs_nothing(site, ask, scenario, status, finish, stream):
    time.sleep(0.1)
    response = ask(scenario, stream=stream)
    assert response.status_code == status
    error = error_of(response)
    assert error["type"] == finish
    assert exchange.SECRET not in response.text
    assert "upstream.internal" not in response.text
    assert_released(site, finish=finish)
    ask("normal 1")  # closes the breaker


def test_reason_of_a_refusal_is_passed_on_without_secrets(ask):
    message = error_of(ask("refuse"))["message"]
    assert message.startswith("This model's maximum context length is 128 tokens.")
    assert "sk-" not in message


def test_redirect_is_not_followed(ask, upstream):
    ask("redirect")
    ask("normal 1")
    assert "/elsewhere/chat/completions" not in upstream.paths


def test_busy_upstream_is_429_with_its_retry_after(site, ask):
    response = ask("status 429 7")
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "7"
    assert error_of(response)["type"] == "upstream_busy"
    assert_released(site, finish="upstream_busy")
    ask("normal 1")


@pytest.mark.long
def test_short_retry_after_is_waited_for(ask, upstream):
    started = time.monotonic()
    assert ask("status 429 1").status_code == 429
    assert len(upstream.bodies) == 2
    assert time.monotonic() - started >= 1
    ask("normal 1")


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["empty", "silent 9"])
def test_stream_without_a_first_chunk_is_502(site, ask, scenario):
    response = ask(scenario, stream=True)
    assert response.status_code == 502
    assert error_of(response)["type"] == ("upstream_timeout" if scenario != "empty" else "upstream_failed")
    assert site.newest()["state"] == "released"
    ask("normal 1")


@pytest.mark.long
def test_whole_answer_that_is_too_large_is_502(site, ask):
    assert ask("huge").status_code == 502
    assert site.newest()["state"] == "released"
    ask("normal 1")


@pytest.mark.long
def test_breaker_opens_after_repeated_failures(site, upstream, ask):
    for _ in range(5):
        began = time.monotonic()
        ask("status 401")
    asked = len(upstream.bodies)
    while (status := ask("normal 1").status_code) == 502:
        assert len(upstream.bodies) == asked
        assert site.newest()["state"] == "released"
        time.sleep(0.1)
    assert status == 200
    assert len(upstream.bodies) == asked + 1
    # APEX_RECOVERY_SECONDS (conftest.py) after the fifth failure.
    assert time.monotonic() - began > 2


# --- Upstreams that fail in the middle -------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["cut 3", "error-inside 3", "no-end 3", "stall 3", "huge"])
def test_failure_in_the_middle_ends_the_stream_cleanly_and_charges_the_output(site, ask, scenario):
    response = ask(scenario, stream=True)
    assert response.status_code == 200
    last = chunks(response)[-1]
    assert last["error"]["code"] == 502
    assert last["error"]["request_id"] == response.headers["X-Request-Id"]
    assert "[DONE]" not in response.text
    assert exchange.SECRET not in response.text
    completion = assert_charged_once(
        site, source="counted", finish="upstream_failed" if scenario != "stall 3" else "upstream_timeout"
    )
    assert completion["completion_tokens"] > 0


@pytest.mark.long
def test_usage_stated_too_early_does_not_make_the_rest_free(site, ask):
    ask("early-usage 30", stream=True)
    completion = assert_charged_once(site, source="counted", finish="upstream_timeout", prompt_tokens=18)
    assert completion["completion_tokens"] >= 30


def test_stream_ends_at_done_even_if_the_connection_stays_open(site, ask):
    response = ask("linger", stream=True)
    assert response.text.endswith("data: [DONE]\n\n")
    assert_charged_once(site, source="upstream", finish="stop")


@pytest.mark.long
def test_output_that_no_database_accepts_is_charged_and_stored(site, ask):
    headers = {"Idempotency-Key": "odd"}
    assert text_of(ask("odd", stream=True, headers=headers)) == "word "
    assert_charged_once(site, source="upstream")
    again = ask("odd", stream=True, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert text_of(again) == "word "


# --- Clients that leave ----------------------------------------------------------------------------------------------


def leave_after(site, key, content, *, words):
    """Read this many words of a stream, then close the connection."""
    body = {"model": "apex-latest", "messages": [{"role": "user", "content": content}], "stream": True}
    with requests.post(
        f"{site.address}/v1/apex/chat/completions", headers={"X-API-Key": key}, json=body, stream=True, timeout=30
    ) as response:
        for line in response.iter_lines(chunk_size=1):
            words -= b"word" in line
            if words <= 0:
                return


def test_abandoned_stream_is_read_on_and_charged_as_stated(site, key):
    leave_after(site, key, "slow 10 0.05", words=2)
    assert_charged_once(site, source="upstream", completion_tokens=10, finish="stop")


@pytest.mark.long
def test_abandoned_long_stream_is_read_for_a_limited_time_and_counted(site, key, upstream):
    leave_after(site, key, "slow 1000 0.05", words=2)
    completion = assert_charged_once(site, source="counted", finish="client_left")
    produced = next(iter(upstream.produced.values()))
    # "word12 " is two or three tokens by our count. The stream is read on for a second, which is about twenty words.
    assert 10 <= produced.completion_tokens < 100
    assert produced.completion_tokens <= completion["completion_tokens"] <= 4 * produced.completion_tokens


def request_of(key, content, *, stream):
    """Return the bytes of a request, for tests that close its connection themselves."""
    message = {"role": "user", "content": content}
    body = json.dumps({"model": "apex-latest", "messages": [message], "stream": stream}).encode()
    head = f"POST /v1/apex/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def port_of(site):
    return int(site.address.rpartition(":")[2])


def leave_before_the_answer(site, key, upstream, content, *, stream):
    """Close the connection once the upstream has been asked."""
    asked, deadline = len(upstream.bodies), time.monotonic() + 60
    with socket.create_connection(("127.0.0.1", port_of(site))) as connection:
        connection.sendall(request_of(key, content, stream=stream))
        while len(upstream.bodies) == asked:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.long
def test_client_that_leaves_before_the_first_chunk_pays_nothing(site, key, upstream):
    leave_before_the_answer(site, key, upstream, "silent 60", stream=True)
    assert_released(site, finish="client_left")


@pytest.mark.long
def test_whole_answer_whose_client_left_is_waited_for_and_charged(site, key, upstream):
    leave_before_the_answer(site, key, upstream, "slow 10 0.15", stream=False)
    assert_charged_once(site, source="upstream", completion_tokens=10)


@pytest.mark.long
def test_client_that_reads_nothing_is_disconnected_and_charged(site, key):
    before = count(site)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.connect(("127.0.0.1", port_of(site)))
        connection.sendall(request_of(key, "flood 20", stream=True))
        ours = connection.getsockname()[1]
        server, deadline = psutil.Process(site.process.pid), time.monotonic() + 30
        for is_held in (True, False):
            while is_held != any(each.raddr and each.raddr.port == ours for each in server.net_connections()):
                assert time.monotonic() < deadline, f"held: {not is_held}"
                time.sleep(0.05)
    assert_charged_once(site)
    assert count(site) == before + 1
