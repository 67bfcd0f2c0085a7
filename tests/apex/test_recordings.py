"""What upstreams really send (recordings/), through a real server and the real relay: what the client gets and pays."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from accounts.models import Organization
from apex import service, upstream
from apex.models import Completion
from billing import ledger
from billing.models import Wallet

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]

RECORDINGS_DIR = Path(__file__).parent / "recordings"
TEXT = "Hello there."
# Prices of the test's model in micro-dollars per token, so that tokens can be read from a price: 1, 100 and 10,000.
MODELS = {
    "apex-latest": {
        "upstream": "m",
        "cached_prompt_micros": 1_000_000,
        "prompt_micros": 100_000_000,
        "completion_micros": 10_000_000_000,
        "max_completion_tokens": 1000,
    }
}


@dataclass(frozen=True)
class Expected:
    """What comes of a recording. tokens: prompt, cached, completion; None if the answer is not charged."""

    tokens: tuple[int, int, int] | None
    text: str = TEXT
    source: str = "upstream"
    finish: str = "stop"
    is_whole: bool = True
    choices: int = 1


# An upstream that breaks off is charged by our count: 9 prompt tokens by the text of the request, and the text so far.
BROKEN = {"source": "counted", "finish": "upstream_failed", "is_whole": False}
EXPECTED = {
    "openrouter.sse": Expected((18, 0, 3)),
    "openrouter-error.sse": Expected((0, 0, 2), text="Hello there", **BROKEN),
    "openrouter-error-first.sse": Expected(None, text="", finish="upstream_failed", is_whole=False),
    "deepseek.sse": Expected((40, 32, 9)),
    "deepseek.json": Expected((40, 32, 9)),
    "vllm.sse": Expected((18, 0, 3)),
    "vllm-error.sse": Expected((0, 0, 2), text="Hello there", **BROKEN),
    "litellm.sse": Expected((40, 30, 3)),
    "litellm-error.sse": Expected((0, 0, 2), text="Hello there", **BROKEN),
    "gemini.sse": Expected((20, 0, 385)),
    # The usage of the last chunk that came: 382 thoughts and a word.
    "gemini-cut.sse": Expected((20, 0, 383), text="Hello", **{**BROKEN, "source": "upstream"}),
    "xai.json": Expected((18, 0, 103)),
    "openai.sse": Expected((18, 0, 103)),
    "anthropic.sse": Expected((18, 0, 3)),
    "anthropic-error.sse": Expected((0, 0, 2), text="Hello there", **BROKEN),
    "llamacpp.sse": Expected((18, 0, 3)),
    "llamacpp-error.sse": Expected((0, 0, 2), text="Hello there", **BROKEN),
    "ollama.sse": Expected((0, 0, 3), source="counted"),
    "empty-events.sse": Expected((18, 0, 3)),
    "no-mark.sse": Expected((18, 0, 3)),
    "one-of-two.sse": Expected((0, 0, 3), **BROKEN, choices=2),
    "two-of-two.sse": Expected((0, 0, 3), source="counted", finish="length", choices=2),
    "zero-usage.sse": Expected((0, 0, 3), source="counted"),
}


@pytest.fixture
def organization(chat, transactional_db, settings):
    settings.APEX_MODELS = MODELS
    organization = Organization.objects.create(name="Ours")
    ledger.credit(organization, amount_micros=100_000_000, kind="credit", reference="start")
    return organization


def play(organization, name, *, choices=1, **fields):
    """Return the body of the answer, None for an error before it, and the micro-dollars that were charged."""
    content = {"role": "user", "content": f"recording {name}"}
    body = {"messages": [content], "stream": name.endswith(".sse"), "max_tokens": 1000, "n": choices, **fields}

    async def act():
        try:
            relay = service.relay_for(organization, body=body)
            head = await relay.head()
            if head.error is not None:
                raw = None
            elif head.answer is not None:
                raw = head.answer
            else:
                raw = b"".join([piece async for piece in relay])
            return raw, await relay.charged_micros()
        finally:
            await upstream.close()

    return asyncio.run(act())


def events_of(raw):
    lines = raw.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def text_of(events):
    choices = [choice for event in events for choice in event.get("choices", [])]
    return "".join((choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices)


def test_each_recording_has_an_expectation():
    assert set(EXPECTED) == {path.name for path in RECORDINGS_DIR.iterdir()} - {"README.md"}
    readme = (RECORDINGS_DIR / "README.md").read_text()
    assert [name for name in EXPECTED if f"`{name}`" not in readme] == []


@pytest.mark.long
@pytest.mark.parametrize("name", EXPECTED)
def test_recording_is_relayed_and_charged(organization, name):
    expected = EXPECTED[name]
    raw, charged_micros = play(organization, name, choices=expected.choices, stream_options={"include_usage": True})
    row = Completion.objects.get()
    assert row.finish == expected.finish
    assert Wallet.objects.get().held_micros == 0
    if expected.tokens is None:
        assert (raw, charged_micros, row.state) == (None, 0, "released")
        return
    assert raw is not None
    events = events_of(raw) if name.endswith(".sse") else [json.loads(raw)]
    assert text_of(events) == expected.text
    # Every event is one that the `openai` package can read: a list of choices with their indices, or an error.
    for event in events:
        assert "error" in event or all(isinstance(choice["index"], int) for choice in event["choices"]), event
    assert raw.endswith(b"data: [DONE]\n\n") is (expected.is_whole and name.endswith(".sse"))
    assert ("error" in events[-1]) is not expected.is_whole
    prompt, cached, completion = expected.tokens
    assert row.source == expected.source
    # A prompt of unknown tokens is counted with the tokenizer.
    assert row.prompt_tokens == (prompt or row.prompt_tokens) > 0
    assert (row.cached_prompt_tokens, row.completion_tokens) == (cached, completion)
    assert charged_micros == cached + 100 * (row.prompt_tokens - cached) + 10_000 * completion
    if expected.is_whole:
        assert sum(bool(event.get("usage")) for event in events) >= 1


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected.is_whole])
def test_client_that_asks_for_no_usage_gets_none_in_a_stream(organization, name):
    raw, _ = play(organization, name, choices=EXPECTED[name].choices)
    assert raw is not None
    if name.endswith(".sse"):
        assert not any(event.get("usage") for event in events_of(raw))


def test_cost_of_the_operator_is_hidden(organization):
    raw, _ = play(organization, "openrouter.sse", stream_options={"include_usage": True})
    assert raw is not None
    assert b"cost" not in raw
