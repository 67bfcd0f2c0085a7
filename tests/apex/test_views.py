"""The chat endpoint over HTTP: a real web process in front of a real upstream whose behaviour each test chooses."""

import json
import re
import time

import pytest
import requests

from tests.apex import exchange
from tests.apex.answers import assert_charged_once, chunks, count, error_of, text_of

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(600)]

# 18 prompt tokens and 5 of completion: 5.4 + 2.25 micro-dollars.
NORMAL_MICROS = 8


def test_whole_answer_comes_from_the_upstream_and_is_charged(site, ask):
    response = ask("normal 5")
    assert response.status_code == 200
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == exchange.MODEL
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "word0 word1 word2 word3 word4"}
    assert body["usage"] == {"prompt_tokens": 18, "completion_tokens": 5, "total_tokens": 23}
    assert_charged_once(site, micros=NORMAL_MICROS, source="upstream", finish="stop", completion_tokens=5)


def test_answer_has_request_id_and_limits(ask):
    response = ask(headers={"X-Request-Id": "my-request-1"})
    assert response.headers["X-Request-Id"] == "my-request-1"
    assert response.headers["x-ratelimit-limit-requests"] == "100000"
    assert re.fullmatch(r"\d+", response.headers["x-ratelimit-remaining-requests"])
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_stream_states_no_usage_by_default(site, ask):
    response = ask("normal 5", stream=True)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert text_of(response) == "word0 word1 word2 word3 word4 "
    assert response.text.endswith("data: [DONE]\n\n")
    assert not any("usage" in chunk for chunk in chunks(response))
    completion = assert_charged_once(site, micros=NORMAL_MICROS, source="upstream", finish="stop")
    assert completion["first_token_ms"] <= completion["latency_ms"]


def test_stream_states_usage_on_request(ask):
    last = chunks(ask("normal 5", stream=True, stream_options={"include_usage": True}))[-1]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5


def test_price_of_the_upstream_is_hidden(ask):
    whole = ask("priced-usage 5").json()["usage"]
    last = chunks(ask("priced-usage 5", stream=True, stream_options={"include_usage": True}))[-1]["usage"]
    assert set(whole) == set(last) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_counted_usage_is_sent_and_charged_if_the_upstream_states_none(site, ask):
    last = chunks(ask("no-usage 5", stream=True, stream_options={"include_usage": True}))[-1]
    completion = assert_charged_once(site, source="counted")
    assert last["usage"]["completion_tokens"] == completion["completion_tokens"] > 5
    assert last["usage"]["prompt_tokens"] == completion["prompt_tokens"] > 0


@pytest.mark.long
def test_words_arrive_as_the_upstream_sends_them(site, key):
    body = {"model": "apex-latest", "messages": [{"role": "user", "content": "slow 5 0.3"}], "stream": True}
    with requests.post(
        f"{site.address}/v1/apex/chat/completions", headers={"X-API-Key": key}, json=body, stream=True, timeout=30
    ) as response:
        moments = [time.monotonic() for line in response.iter_lines() if b"word" in line]
    assert len(moments) == 5
    # The words left the upstream 0.3 s apart.
    assert moments[-1] - moments[0] > 0.9


def test_upstream_gets_its_own_key_and_no_header_of_the_client(upstream, ask, key):
    ask("normal 1", user="ann", headers={"Cookie": "sessionid=1", "X-Secret": "2"})
    (headers,) = upstream.headers
    assert headers["Authorization"] == f"Bearer {exchange.SECRET}"
    assert key not in json.dumps(headers)
    assert "Cookie" not in headers
    assert "X-Secret" not in headers
    (body,) = upstream.bodies
    assert body["model"] == exchange.MODEL
    assert body["user"] == "ann"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_unknown_fields_pass_both_ways(ask, upstream, stream):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    response = ask("tools", stream=stream, tools=[tool], tool_choice="auto", x_unknown=[1, None])
    assert upstream.bodies[0]["tools"] == [tool]
    assert upstream.bodies[0]["x_unknown"] == [1, None]
    if stream:
        calls = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in chunks(response)]
        assert "".join(call[0]["function"]["arguments"] for call in calls if call) == '{"city": "Paris"}'
    else:
        assert response.json()["choices"][0]["finish_reason"] == "tool_calls"
        assert response.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_unknown_fields_of_the_answer_pass(ask):
    body = ask("echo", response_format={"type": "json_object"}).json()
    assert body["x_unknown"] == {"kept": [1, 2.5, None]}
    assert json.loads(body["choices"][0]["message"]["content"])["response_format"] == {"type": "json_object"}


def test_comments_and_unusual_line_ends_pass(site, ask):
    response = ask("crlf", stream=True)
    assert text_of(response) == "word0 wörd1"
    assert ": keep-alive" in response.text
    assert_charged_once(site, source="upstream", completion_tokens=2)


# --- What is charged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_missing_usage_is_counted(site, ask, stream):
    ask("no-usage 5", stream=stream)
    assert_charged_once(site, source="counted", completion_tokens=10 if not stream else 11)


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
def test_nonsense_usage_is_counted(site, ask, stream):
    ask("nonsense-usage 5", stream=stream)
    assert_charged_once(site, source="counted")


@pytest.mark.parametrize("stream", [False, True])
def test_zero_usage_for_a_text_is_counted(site, ask, stream):
    assert ask("zero-usage 5", stream=stream).status_code == 200
    assert_charged_once(site, source="counted", finish="stop", completion_tokens=10 if not stream else 11)


@pytest.mark.parametrize("stream", [False, True])
def test_impossible_usage_is_capped(site, ask, stream):
    ask("mad-usage 5", stream=stream, max_tokens=100)
    completion = assert_charged_once(site, source="cut", completion_tokens=100)
    assert completion["prompt_tokens"] < 1000


def test_small_balance_lowers_the_token_limit(site, upstream, keys):
    # 22 prompt tokens and 100 completion tokens cost 52 micro-dollars; the balance is 50.
    body = {"model": "apex-latest", "messages": [{"role": "user", "content": "normal 5"}]}
    response = requests.post(
        f"{site.address}/v1/apex/chat/completions",
        headers={"X-API-Key": keys["small@example.com"]},
        json=body,
        timeout=30,
    )
    assert response.status_code == 200
    assert 16 <= upstream.bodies[0]["max_tokens"] < 100
    assert_charged_once(site, micros=NORMAL_MICROS)


@pytest.mark.long
def test_empty_balance_is_refused_with_the_shortfall(site, upstream, keys):
    before = count(site)
    body = {"model": "apex-latest", "messages": [{"role": "user", "content": "normal 5"}]}
    response = requests.post(
        f"{site.address}/v1/apex/chat/completions",
        headers={"X-API-Key": keys["empty@example.com"]},
        json=body,
        timeout=30,
    )
    assert response.status_code == 402
    error = error_of(response)
    assert error["type"] == "insufficient_balance"
    assert error["required_micros"] > error["available_micros"] == 10
    assert count(site) == before
    assert upstream.bodies == []


# --- Refused before money is held ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"model": "gpt-4"}, "model"), ({"messages": None}, "messages"), ({"temperature": 9}, "temperature")],
)
def test_wrong_field_is_named_and_nothing_is_held(site, ask, upstream, fields, param):
    before = count(site)
    response = ask(**fields)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
    assert count(site) == before
    assert upstream.bodies == []


def send(site, key, body, **headers):
    return requests.post(
        f"{site.address}/v1/apex/chat/completions",
        data=body,
        headers={"Content-Type": "application/json", **({"X-API-Key": key} if key else {}), **headers},
        timeout=30,
    )


def test_broken_json_is_400(site, key):
    assert error_of(send(site, key, b"{"))["type"] == "invalid_request"


def test_other_content_type_is_400(site, key):
    response = send(site, key, b"model=apex-latest", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code == 400
    assert error_of(response)["type"] == "unsupported_media_type"


@pytest.mark.long
def test_20_megabytes_are_413(site, key):
    before = count(site)
    response = send(site, key, b"x" * 20_000_000)
    assert response.status_code == 413
    assert error_of(response)["type"] == "body_too_large"
    assert count(site) == before


def test_endless_body_is_413(site, key):
    response = send(site, key, (b"x" * 65_536 for _ in range(200)))
    assert response.status_code == 413


def test_body_above_django_s_form_limit_is_accepted(site, key, upstream):
    body = {"model": "apex-latest", "messages": [{"role": "user", "content": "normal 1 " + "word " * 300_000}]}
    assert send(site, key, json.dumps(body)).status_code == 200


@pytest.mark.parametrize("body", [b"{", b'{"model": "x"}'])
def test_request_without_a_key_is_told_only_that(site, body):
    response = send(site, "", body)
    assert response.status_code == 401
    assert error_of(response)["type"] == "missing_api_key"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_wrong_key_is_401(site):
    assert error_of(send(site, "vxp_live_wrong", b"{}"))["type"] == "invalid_api_key"


def test_authorization_header_carries_the_key(site, key):
    response = requests.get(f"{site.address}/v1/apex/models", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    assert response.status_code == 200
    assert [model["id"] for model in response.json()["data"]] == ["apex-latest"]
    assert "x-ratelimit-limit-requests" in response.headers
    assert requests.get(f"{site.address}/v1/apex/models", timeout=30).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "chat/completions", 405), ("POST", "models", 405), ("GET", "nothing", 404), ("POST", "", 404)],
)
def test_other_paths_and_methods_answer_in_the_same_shape(site, key, method, path, status):
    response = requests.request(method, f"{site.address}/v1/apex/{path}", headers={"X-API-Key": key}, timeout=30)
    assert response.status_code == status
    error_of(response)


@pytest.mark.long
def test_organization_without_a_free_slot_is_refused(site, upstream, keys):
    key, other = keys["crowded@example.com"], keys["free@example.com"]

    def post(key, content, **more):
        body = {"model": "apex-latest", "messages": [{"role": "user", "content": content}], "max_tokens": 100}
        url = f"{site.address}/v1/apex/chat/completions"
        return requests.post(url, headers={"X-API-Key": key}, json={**body, **more}, timeout=30, stream=True)

    # As many as APEX_MAX_OPEN (conftest.py), each open for longer than a busy machine takes to open them all.
    streams = [post(key, "slow 40 0.1", stream=True) for _ in range(8)]
    assert {stream.status_code for stream in streams} == {200}
    before, held = count(site), site.held_micros()
    response = post(key, "normal 1")
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert error_of(response)["type"] == "too_many_open"
    assert (count(site), site.held_micros(), len(upstream.bodies)) == (before, held, 8)
    assert post(other, "normal 1").status_code == 200
    # A slot is free as soon as the client sees the end of its stream, even before the completion is charged.
    for stream in streams:
        assert stream.text.endswith("data: [DONE]\n\n")
        assert post(key, "normal 1").status_code == 200
    while site.held_micros():
        time.sleep(0.05)


def test_unknown_host_is_refused(site, key):
    assert send(site, key, b"{}", Host="evil.example").status_code == 400


# --- Idempotency-Key -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_same_key_and_body_get_the_stored_answer_and_one_charge(site, ask, upstream, stream):
    headers = {"Idempotency-Key": f"once-{stream}"}
    first = ask("normal 5", stream=stream, headers=headers)
    site.newest()
    before = count(site)
    second = ask("normal 5", stream=stream, headers=headers)
    assert second.text == first.text
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(upstream.bodies) == 1
    assert count(site) == before
    other = ask("normal 6", stream=stream, headers=headers)
    assert other.status_code == 409
    assert error_of(other)["type"] == "idempotency_key_reused"


def test_failed_request_frees_its_idempotency_key(site, ask):
    headers = {"Idempotency-Key": "fails"}
    assert ask("refuse", headers=headers).status_code == 400
    site.newest()
    assert ask("refuse", headers=headers).status_code == 400
    assert "Idempotency-Replayed" not in ask("refuse", headers=headers).headers
