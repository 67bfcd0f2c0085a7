import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex import tokenizer, usage_meter
from apex.usage_meter import BilledUsage, Ceiling, Rates, Source, Usage, UsageMeter

RATES = Rates(prompt_micros=300_000, completion_micros=450_000)
CEILING = Ceiling(prompt_tokens=1000, completion_tokens=100)
BODY = {"messages": [{"role": "user", "content": "Hello there"}]}


def chunk(text="", **more):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


def billed(meter, *, prompt_tokens=7):
    return meter.billed_usage(
        count_prompt=lambda: prompt_tokens, count_tokens=lambda text: len(text.split()), ceiling=CEILING
    )


@pytest.mark.parametrize(
    ("prompt_tokens", "completion_tokens", "micros"),
    [(18, 10, 10), (0, 0, 0), (0, 1, 0), (1, 1, 1), (1_000_000, 0, 300_000), (0, 1_000_000, 450_000), (0, 10, 5)],
)
def test_price_is_rounded_half_up(prompt_tokens, completion_tokens, micros):
    assert RATES.price_micros(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens) == micros


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_tokens_for_an_amount_never_cost_more_than_the_amount(micros, prompt_tokens, prompt_micros, completion_micros):
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
        {"prompt_tokens": float("inf"), "completion_tokens": 1},
        {"prompt_tokens": 5, "total_tokens": 3},
    ],
)
def test_missing_or_nonsense_usage_is_counted(usage):
    meter = UsageMeter()
    meter.feed(chunk("two words", usage=usage))
    assert billed(meter) == BilledUsage(Usage(7, 2), Source.COUNTED)


def test_explicit_zero_for_no_text_is_a_statement():
    meter = UsageMeter()
    meter.feed(chunk("", usage={"prompt_tokens": 0, "completion_tokens": 0}))
    assert billed(meter) == BilledUsage(Usage(0, 0), Source.UPSTREAM)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(7, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 0}, Usage(9, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 5}, Usage(7, 5)),
        ({"prompt_tokens": 0, "completion_tokens": 10**9}, Usage(7, 100)),
    ],
)
def test_zero_for_a_text_is_counted(usage, tokens):
    meter = UsageMeter()
    meter.feed(chunk("two words", usage=usage))
    assert meter.needs_counting
    assert billed(meter) == BilledUsage(tokens, Source.COUNTED)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        # OpenAI: reasoning inside of the completion.
        ({"prompt_tokens": 18, "completion_tokens": 103, "total_tokens": 121, "reasoning": 100}, Usage(18, 103)),
        # xAI: reasoning outside of it.
        ({"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 121, "reasoning": 100}, Usage(18, 103)),
        # Gemini: outside of it, and only in the total.
        ({"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 121}, Usage(18, 103)),
        # A total with something that nobody explains.
        ({"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 500, "reasoning": 100}, Usage(18, 103)),
        ({"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 500, "reasoning": 0}, Usage(18, 3)),
        ({"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 5}, Usage(18, 3)),
        ({"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": "many"}, Usage(18, 3)),
        ({"prompt_tokens": 18, "total_tokens": 21}, Usage(18, 3)),
        ({"prompt_tokens": 18.0, "completion_tokens": 3.0, "total_tokens": 21.0}, Usage(18, 3)),
    ],
)
def test_usage_is_read_by_its_meaning(stated, expected):
    reasoning = stated.pop("reasoning", None)
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    assert usage_meter.read_usage({**stated, **details}) == expected


@pytest.mark.parametrize(
    ("stated", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 12}}, 12),
        ({"prompt_tokens_details": {"cached_tokens": 12.0}}, 12),
        ({"prompt_cache_hit_tokens": 12, "prompt_cache_miss_tokens": 6}, 12),
        ({"cache_read_input_tokens": 12}, 12),
        # The same tokens under several names count once.
        ({"prompt_tokens_details": {"cached_tokens": 12}, "prompt_cache_hit_tokens": 12}, 12),
        ({"prompt_tokens_details": None, "prompt_cache_hit_tokens": "12"}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 99}}, 18),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0),
        ({}, 0),
    ],
)
def test_cached_prompt_tokens_are_read_under_every_name(stated, cached):
    usage = usage_meter.read_usage({"prompt_tokens": 18, "completion_tokens": 3, **stated})
    assert usage == Usage(18, 3, cached)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_cached_tokens_have_their_own_price_and_never_a_negative_one(prompt, cached, completion):
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "cached_prompt_tokens": cached}
    own = Rates(300_000, 450_000, cached_prompt_micros=30_000).price_micros(**tokens)
    assert 0 <= own <= RATES.price_micros(**tokens)
    read = min(cached, prompt)
    assert own == Rates(30_000, 450_000).price_micros(prompt_tokens=read, completion_tokens=completion) or read < prompt
    assert RATES.price_micros(**tokens) == RATES.price_micros(prompt_tokens=prompt, completion_tokens=completion)


def test_choice_has_finished_when_no_text_follows_its_reason():
    meter = UsageMeter()
    # Some servers state a reason in every chunk.
    meter.feed({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]})
    meter.feed({"choices": [{"index": 1, "delta": {"content": "a"}, "finish_reason": ""}]})
    assert meter.finished == {0}
    meter.feed({"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}]})
    assert meter.finished == set()


def test_last_statement_counts():
    meter = UsageMeter()
    for tokens in (0, 3, 5):
        meter.feed(chunk("word", usage={"prompt_tokens": 9, "completion_tokens": tokens}))
    meter.feed(chunk("word", usage=None))
    assert billed(meter) == BilledUsage(Usage(9, 5), Source.UPSTREAM)


def test_impossible_usage_is_capped():
    meter = UsageMeter()
    meter.feed(chunk("word", usage={"prompt_tokens": 10**9, "completion_tokens": 10**9}))
    assert billed(meter) == BilledUsage(Usage(1000, 100), Source.CAPPED)


def test_stated_usage_needs_no_tokenizer():
    meter = UsageMeter()
    meter.feed(chunk("word", usage={"prompt_tokens": 1, "completion_tokens": 1}))

    def never(*_):
        raise AssertionError

    assert meter.billed_usage(count_prompt=never, count_tokens=never, ceiling=CEILING).source is Source.UPSTREAM


def test_everything_that_a_model_writes_is_counted():
    meter = UsageMeter()
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    meter.feed({"choices": [{"delta": {"content": "a ", "reasoning_content": "b ", "refusal": "c "}}]})
    meter.feed({"choices": [{"delta": {"tool_calls": [{"function": function}, None]}, "finish_reason": "tool_calls"}]})
    meter.feed({"choices": [{"message": {"function_call": function}}, None, {"delta": None}]})
    meter.feed({"choices": None})
    assert meter._produced.decode() == "a c b " + (function["name"] + function["arguments"]) * 2
    assert meter.finish == "tool_calls"


def max_tokens(body):
    return usage_meter.max_prompt_tokens(body, body_bytes=len(json.dumps(body, ensure_ascii=False).encode()))


def test_estimate_is_a_little_above_the_tokens_of_common_texts():
    for text in (
        "The quick brown fox jumps over the lazy dog. " * 20,
        "你好,今天我能帮你什么?" * 20,
        "    return self.find(request, name=name)\n" * 30,
    ):
        body = {"messages": [{"role": "user", "content": text}]}
        tokens = usage_meter.count_prompt_tokens(body, count_tokens=tokenizer.count_tokens)
        assert tokens <= usage_meter.estimate_prompt_tokens(body) <= 3 * tokens
        assert tokens <= max_tokens(body)


def test_attachments_are_not_measured_by_their_bytes():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo" + "A" * 300_000}}
    body = {"messages": [{"role": "user", "content": [picture]}]}
    assert usage_meter.estimate_prompt_tokens(body) < 2_000
    assert usage_meter.count_prompt_tokens(body, count_tokens=lambda _: 1) < 2_000


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "data:;base64," + "words " * 100_000},
        {"role": "user", "content": [{"type": "text", "text": "data:;base64," + "words " * 100_000}]},
        {"role": "user", "content": [{"type": "image_url", "text": "data:;base64," + "words " * 100_000}]},
        {"role": "user", "type": "file", "content": "data:;base64," + "words " * 100_000},
    ],
)
def test_text_that_looks_like_an_attachment_counts_as_text(message):
    body = {"messages": [message]}
    assert usage_meter.estimate_prompt_tokens(body) > 100_000
    assert usage_meter.count_prompt_tokens(body, count_tokens=lambda text: len(text.split())) >= 100_000
    assert max_tokens(body) > 100_000


def test_schema_of_brackets_is_counted():
    parameters = {"enum": [[[]]] * 50_000}
    body = {**BODY, "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}
    assert usage_meter.estimate_prompt_tokens(body) > 50_000
    assert usage_meter.count_prompt_tokens(body, count_tokens=len) > 200_000
    assert max_tokens(body) > 200_000


def test_unknown_fields_count_in_the_estimate_and_the_ceiling():
    body = {**BODY, "documents": [{"text": "words " * 10_000}]}
    assert usage_meter.estimate_prompt_tokens(body) > 15_000
    assert max_tokens(body) > 60_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg", "format": "wav"}},
        {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
    ],
)
def test_attachment_with_a_short_address_counts_in_full(part):
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert usage_meter.estimate_prompt_tokens(body) > 1_500
    assert usage_meter.count_prompt_tokens(body, count_tokens=lambda _: 1) > 1_500
    assert max_tokens(body) > 20_000


def test_usage_stated_too_early_is_replaced_by_a_count():
    meter = UsageMeter()
    meter.feed(chunk("word", usage={"prompt_tokens": 9, "completion_tokens": 1}))
    for _ in range(3):
        meter.feed(chunk(" word"))
    assert billed(meter) == BilledUsage(Usage(9, 4), Source.COUNTED)
    meter.feed({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    assert billed(meter) == BilledUsage(Usage(9, 3), Source.UPSTREAM)


def test_zero_usage_stated_too_early_makes_nothing_free():
    meter = UsageMeter()
    meter.feed(chunk("", usage={"prompt_tokens": 0, "completion_tokens": 0}))
    meter.feed(chunk("two words"))
    assert billed(meter) == BilledUsage(Usage(7, 2), Source.COUNTED)


@pytest.mark.parametrize("reason", ["\ud800", "st\0p", "a\nb", 5, None])
def test_finish_reason_that_no_database_accepts_is_dropped(reason):
    meter = UsageMeter()
    meter.feed({"choices": [{"delta": {}, "finish_reason": reason}]})
    assert meter.finish == ""


@pytest.mark.long
def test_tools_are_part_of_the_prompt():
    tool = {"type": "function", "function": {"name": "f", "description": "words " * 300, "parameters": {"maximum": 5}}}
    assert (
        usage_meter.estimate_prompt_tokens({**BODY, "tools": [tool]}) > usage_meter.estimate_prompt_tokens(BODY) + 500
    )
    counted = usage_meter.count_prompt_tokens({**BODY, "tools": [tool]}, count_tokens=tokenizer.count_tokens)
    assert counted > usage_meter.count_prompt_tokens(BODY, count_tokens=tokenizer.count_tokens) + 300
