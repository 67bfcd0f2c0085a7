import json

import pytest

from accounts.errors import BadRequest, InvalidField, MissingField, RateLimited
from apex import wire
from apex.usage_meter import Usage

MODELS = {"apex-latest": 65_536, "small": 100}
MESSAGES = [{"role": "user", "content": "Hello"}]


def read(**fields):
    body = {"model": "apex-latest", "messages": MESSAGES, **fields}
    return wire.read_request(json.dumps(body).encode(), max_completion_tokens=MODELS)


def test_nothing_is_added_but_the_limit_of_tokens():
    request = read()
    assert (request.is_stream, request.completion_tokens, request.choice_count) == (False, 4096, 1)
    assert request.upstream_body(model="up/stream", completion_tokens=4096) == {
        "model": "up/stream",
        "messages": MESSAGES,
        "max_tokens": 4096,
        "stream": False,
    }


@pytest.mark.parametrize(("stated", "sent"), [({}, 0.7), ({"temperature": None}, 0.7), ({"temperature": 0}, 0)])
def test_temperature_of_the_model_is_for_clients_that_state_none(stated, sent):
    body = read(**stated).upstream_body(model="m", completion_tokens=5, temperature=0.7)
    assert body["temperature"] == sent


@pytest.mark.parametrize("stated", [{}, {"max_tokens": 9}, {"max_completion_tokens": 9}, {"max_tokens": 9.0}])
@pytest.mark.parametrize("name", wire.LIMIT_FIELDS)
def test_limit_has_the_only_name_that_the_model_knows(stated, name):
    body = read(**stated).upstream_body(model="m", completion_tokens=50, limit_field=name)
    assert {each: body[each] for each in wire.LIMIT_FIELDS if each in body} == {name: 9 if stated else 50}


EMPTY_OR_USUAL = [
    *(
        {name: value}
        for name in wire.REFUSED_FIELDS
        for value in (None, "", [], {}, False)
        if name != "web_search_options"
    ),
    {"service_tier": "auto"},
    {"service_tier": "default"},
    {"modalities": ["text"]},
    {"best_of": 1},
    {"candidate_count": 1},
    {"stop": None},
    {"stop": []},
    {"logit_bias": {}},
    {"metadata": {}},
    {"response_format": None},
    {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
    {"functions": [], "function_call": "none"},
    {"web_search_options": None},
    {"extra_body": {}, "extra_headers": {}, "generation_config": {}},
]


@pytest.mark.parametrize("fields", EMPTY_OR_USUAL)
def test_fields_that_mean_the_usual_pass_and_are_not_sent(fields):
    plain = read().upstream_body(model="m", completion_tokens=5)
    assert read(**fields).upstream_body(model="m", completion_tokens=5) == plain


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "priority"},
        {"service_tier": "flex"},
        {"modalities": ["text", "audio"]},
        {"modalities": "text"},
        {"best_of": True},
        {"best_of": 0},
        {"best_of": 2},
        {"web_search_options": {}},
        {"extra_body": {"n": 9}},
        {"n_predict": -1},
        {"mock_response": True},
    ],
)
def test_fields_that_buy_something_else_are_still_refused(fields):
    with pytest.raises(InvalidField):
        read(**fields)


@pytest.mark.parametrize("fields", [{"n": 1}, {"n": None}, {"max_tokens": 100.0}, {"n": 2.0}, {"user": ""}])
def test_usual_and_whole_values_are_taken(fields):
    body = read(**fields).upstream_body(model="m", completion_tokens=500)
    assert all(type(body[name]) is not float for name in fields)


@pytest.mark.parametrize("role", wire.ROLES)
def test_content_may_be_null(role):
    messages = [*MESSAGES, {"role": role, "content": None}]
    assert read(messages=messages).body["messages"] == messages


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b"null",
        b'{"temperature": NaN}',
        b'{"a": Infinity}',
        b'{"a": -1e999}',
        b"[" * 100_000,
    ],
)
def test_broken_json_is_refused(raw):
    with pytest.raises(BadRequest):
        wire.read_request(raw, max_completion_tokens=MODELS)


@pytest.mark.parametrize("junk", [b"[]", b"{}"])
def test_body_with_too_many_objects_is_refused_before_parsing(junk):
    raw = (
        b'{"model":"apex-latest","messages":[{"role":"user","content":"x"}],"x":[' + b",".join([junk] * 200_001) + b"]}"
    )
    with pytest.raises(BadRequest, match="too many"):
        wire.read_request(raw, max_completion_tokens=MODELS)


@pytest.mark.parametrize("field", ["model", "messages"])
@pytest.mark.parametrize("has_null", [False, True])
def test_missing_fields_are_named(field, has_null):
    body = {"model": "apex-latest", "messages": MESSAGES, field: None}
    if not has_null:
        del body[field]
    with pytest.raises(MissingField) as caught:
        wire.read_request(json.dumps(body).encode(), max_completion_tokens=MODELS)
    assert caught.value.data == {"param": field}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "gpt-4"}, "model"),
        ({"model": 5}, "model"),
        ({"model": ["apex-latest"]}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [*MESSAGES, {"role": "robot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"temperature": 9}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_completion_tokens": False}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        *(({name: ["x"]}, name) for name in wire.REFUSED_FIELDS),
        *(({name: 10**6}, name) for name in wire.REFUSED_ALIASES),
    ],
)
def test_wrong_fields_are_named(fields, param):
    with pytest.raises(InvalidField) as caught:
        read(**fields)
    assert caught.value.data == {"param": param}


def test_nulls_are_defaults():
    request = read(temperature=None, max_tokens=None, n=None, stream=None, stream_options=None, provider=None)
    body = request.upstream_body(model="m", completion_tokens=request.completion_tokens)
    assert (body["max_tokens"], body["stream"]) == (4096, False)
    assert "temperature" not in body


def test_unknown_fields_and_every_kind_of_message_pass_unchanged():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "5", "tool_call_id": "1"},
    ]
    fields = {"tools": [{"type": "function"}], "response_format": {"type": "json_object"}, "x_new": {"deep": [1, None]}}
    body = read(messages=messages, **fields).upstream_body(model="m", completion_tokens=5)
    assert body["messages"] == messages
    assert {name: body[name] for name in fields} == fields


@pytest.mark.parametrize(
    "name",
    [
        *("max_new_tokens", "max_output_tokens", "max_length", "n_predict", "num_predict", "maxOutputTokens"),
        *("best_of", "num_return_sequences", "candidate_count"),
        *("generation_config", "additional_drop_params", "prediction"),
    ],
)
def test_aliases_of_the_limits_are_refused(name):
    with pytest.raises(InvalidField):
        read(**{name: 8})


def test_refusal_of_an_alias_names_our_field():
    with pytest.raises(InvalidField, match="use 'max_tokens'"):
        read(max_new_tokens=10, max_tokens=10)
    with pytest.raises(InvalidField, match="use 'n'"):
        read(num_return_sequences=2)


def test_server_options_that_cost_nothing_pass_unchanged():
    fields = {
        "min_tokens": 5,
        "ignore_eos": True,
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "use_beam_search": False,
        "reasoning_effort": "low",
        "reasoning": {"max_tokens": 100},
        "chat_template_kwargs": {"enable_thinking": False},
        "logprobs": True,
        "top_logprobs": 5,
        "seed": 7,
    }
    body = read(**fields).upstream_body(model="m", completion_tokens=5)
    assert {name: body[name] for name in fields} == fields


def test_limit_is_lowered_under_the_name_that_the_client_used():
    body = read(max_completion_tokens=900).upstream_body(model="m", completion_tokens=50)
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body
    both = read(max_tokens=40, max_completion_tokens=900)
    assert both.completion_tokens == 40
    body = both.upstream_body(model="m", completion_tokens=40)
    assert (body["max_tokens"], body["max_completion_tokens"]) == (40, 40)


def test_limit_of_the_model_is_the_maximum():
    assert read(model="small", max_tokens=5000).completion_tokens == 100
    assert read(model="small").completion_tokens == 100
    assert read(max_tokens=10**30).completion_tokens == 65_536


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True, "x": 1}])
def test_streams_always_request_usage(options):
    request = read(stream=True, stream_options=options)
    assert request.wants_usage == bool(options and options.get("include_usage"))
    body = request.upstream_body(model="m", completion_tokens=5)
    assert body["stream_options"] == {**(options or {}), "include_usage": True}


def test_usage_is_removed_from_a_chunk():
    assert wire.without_usage({"choices": [], "usage": {"prompt_tokens": 1}}) is None
    left = wire.without_usage({"id": "x", "choices": [{"delta": {"content": "a"}}], "usage": None})
    assert left is not None
    assert json.loads(left) == {"id": "x", "choices": [{"delta": {"content": "a"}}]}


def test_usage_chunk_has_the_id_and_model_of_the_stream():
    chunk = json.loads(wire.usage_chunk({"id": "x", "model": "m", "choices": [1], "more": 1}, Usage(2, 3)))
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert chunk == {"id": "x", "model": "m", "choices": [], "usage": usage}


def test_errors_have_openai_s_shape_with_the_seed_s_message_and_code():
    shown = wire.show_error(MissingField("model"), request_id="req_1")["error"]
    assert shown == {
        "message": "The field 'model' is required.",
        "code": 400,
        "type": "missing_field",
        "param": "model",
        "request_id": "req_1",
    }
    assert wire.show_error(RateLimited(retry_after=3), request_id="")["error"]["param"] is None
