import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex import tokenizer, usage_meter
from apex.usage_meter import Ceiling, Measure, Meter, Rates, Source, Usage

RATES = Rates(prompt_micros=300_000, completion_micros=450_000)
MOST = Ceiling(prompt_tokens=1000, completion_tokens=100)
BODY = {"messages": [{"role": "user", "content": "Hello there"}]}


def chunk(text="", **more):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


def measure(meter_, *, prompt=7, most=MOST):
    return meter_.measure(prompt=lambda: prompt, count=lambda text: len(text.split()), most=most)


@pytest.mark.parametrize(
    ("prompt_tokens", "completion_tokens", "micros"),
    [(18, 10, 10), (0, 0, 0), (0, 1, 0), (1, 1, 1), (1_000_000, 0, 300_000), (0, 1_000_000, 450_000), (0, 10, 5)],
)
def test_price_is_rounded_half_up(prompt_tokens, completion_tokens, micros):
    assert RATES.price_micros(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens) == micros


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_tokens_for_an_amount_never_cost_more_than_it(micros, prompt_tokens, prompt_micros, completion_micros):
    rates = Rates(prompt_micros, completion_micros)
    tokens = rates.completion_tokens_for(micros, prompt_tokens=prompt_tokens)
    if tokens:
        assert rates.price_micros(prompt_tokens=prompt_tokens, completion_tokens=tokens) <= micros


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "many",
        {"prompt_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": None, "completion_tokens": None},
    ],
)
def test_missing_or_nonsense_usage_is_counted(usage):
    one = Meter()
    one.feed(chunk("two words", usage=usage))
    assert measure(one) == Measure(Usage(7, 2), Source.COUNTED)


def test_explicit_zero_is_a_statement():
    one = Meter()
    one.feed(chunk("two words", usage={"prompt_tokens": 0, "completion_tokens": 0}))
    assert measure(one) == Measure(Usage(0, 0), Source.UPSTREAM)


def test_last_statement_counts():
    one = Meter()
    for tokens in (0, 3, 5):
        one.feed(chunk("word", usage={"prompt_tokens": 9, "completion_tokens": tokens}))
    one.feed(chunk("word", usage=None))
    assert measure(one) == Measure(Usage(9, 5), Source.UPSTREAM)


def test_impossible_usage_is_cut_to_the_possible():
    one = Meter()
    one.feed(chunk("word", usage={"prompt_tokens": 10**9, "completion_tokens": 10**9}))
    assert measure(one) == Measure(Usage(1000, 100), Source.CUT)


def test_usage_that_is_stated_needs_no_tokenizer():
    one = Meter()
    one.feed(chunk("word", usage={"prompt_tokens": 1, "completion_tokens": 1}))

    def never(*_):
        raise AssertionError

    assert one.measure(prompt=never, count=never, most=MOST).source is Source.UPSTREAM


def test_everything_that_a_model_writes_is_counted():
    one = Meter()
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    one.feed({"choices": [{"delta": {"content": "a ", "reasoning_content": "b ", "refusal": "c "}}]})
    one.feed({"choices": [{"delta": {"tool_calls": [{"function": function}, None]}, "finish_reason": "tool_calls"}]})
    one.feed({"choices": [{"message": {"function_call": function}}, None, {"delta": None}]})
    one.feed({"choices": None})
    assert one._produced.decode() == "a c b " + (function["name"] + function["arguments"]) * 2
    assert one.finish == "tool_calls"


def most(body):
    return usage_meter.most_prompt_tokens(body, body_bytes=len(json.dumps(body, ensure_ascii=False).encode()))


def test_hold_is_a_little_more_than_the_tokens_of_common_texts():
    for text in (
        "The quick brown fox jumps over the lazy dog. " * 20,
        "你好,今天我能帮你什么?" * 20,
        "    return self.find(request, name=name)\n" * 30,
    ):
        body = {"messages": [{"role": "user", "content": text}]}
        tokens = usage_meter.count_prompt_tokens(body, count=tokenizer.count)
        assert tokens <= usage_meter.held_prompt_tokens(body) <= 3 * tokens
        assert tokens <= most(body)


def test_attachments_are_not_measured_by_their_bytes():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 300_000}}
    body = {"messages": [{"role": "user", "content": [picture]}]}
    assert usage_meter.held_prompt_tokens(body) < 2_000
    assert usage_meter.count_prompt_tokens(body, count=lambda _: 1) < 2_000


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "data:;base64," + "words " * 100_000},
        {"role": "user", "content": [{"type": "text", "text": "data:;base64," + "words " * 100_000}]},
        {"role": "user", "content": [{"type": "image_url", "text": "data:;base64," + "words " * 100_000}]},
        {"role": "user", "type": "file", "content": "data:;base64," + "words " * 100_000},
    ],
)
def test_text_is_no_attachment_however_it_begins(message):
    body = {"messages": [message]}
    assert usage_meter.held_prompt_tokens(body) > 100_000
    assert usage_meter.count_prompt_tokens(body, count=lambda text: len(text.split())) >= 100_000
    assert most(body) > 100_000


def test_schema_of_a_tool_can_be_made_of_brackets():
    parameters = {"enum": [[[]]] * 50_000}
    body = {**BODY, "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}
    assert usage_meter.held_prompt_tokens(body) > 50_000
    assert usage_meter.count_prompt_tokens(body, count=len) > 200_000
    assert most(body) > 200_000


def test_fields_that_only_some_server_reads_are_held_and_can_be_charged():
    body = {**BODY, "documents": [{"text": "words " * 10_000}]}
    assert usage_meter.held_prompt_tokens(body) > 15_000
    assert most(body) > 60_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg", "format": "wav"}},
        {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
    ],
)
def test_attachment_costs_its_tokens_however_short_its_address_is(part):
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert usage_meter.held_prompt_tokens(body) > 1_500
    assert usage_meter.count_prompt_tokens(body, count=lambda _: 1) > 1_500
    assert most(body) > 20_000


def test_usage_that_was_stated_before_the_end_says_nothing_of_what_followed():
    one = Meter()
    one.feed(chunk("word", usage={"prompt_tokens": 9, "completion_tokens": 1}))
    for _ in range(3):
        one.feed(chunk(" word"))
    assert measure(one) == Measure(Usage(9, 4), Source.COUNTED)
    one.feed({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    assert measure(one) == Measure(Usage(9, 3), Source.UPSTREAM)


def test_zeros_that_were_stated_before_the_end_make_nothing_free():
    one = Meter()
    one.feed(chunk("", usage={"prompt_tokens": 0, "completion_tokens": 0}))
    one.feed(chunk("two words"))
    assert measure(one) == Measure(Usage(7, 2), Source.COUNTED)


@pytest.mark.parametrize("reason", ["\ud800", "st\0p", "a\nb", 5, None])
def test_reason_that_no_database_takes_is_none(reason):
    one = Meter()
    one.feed({"choices": [{"delta": {}, "finish_reason": reason}]})
    assert one.finish == ""


def test_tools_are_part_of_the_prompt():
    tool = {"type": "function", "function": {"name": "f", "description": "words " * 300, "parameters": {"maximum": 5}}}
    assert usage_meter.held_prompt_tokens({**BODY, "tools": [tool]}) > usage_meter.held_prompt_tokens(BODY) + 500
    counted = usage_meter.count_prompt_tokens({**BODY, "tools": [tool]}, count=tokenizer.count)
    assert counted > usage_meter.count_prompt_tokens(BODY, count=tokenizer.count) + 300


def test_tokenizer_takes_half_a_surrogate_pair():
    assert tokenizer.count("\ud83d") >= 1
    assert tokenizer.count("") == 0
    assert tokenizer.count("Hello! How can I help you today?") == 9
