"""Measures the tokens of a completion and computes its price. Pure: no Django, no clock, no network, no tokenizer.

The usage that the upstream states is what is charged. If the usage is missing or impossible, such as zero tokens for a
text, the tokens are counted with the tokenizer that the caller passes in.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from apex import attachments

TOKENS_PER_PRICE = 1_000_000
# For the estimate by which money is held. English has 4 to 5 bytes per token, Chinese 3 to 4, code 2.5 to 3.5 (measured
# with the vocabulary of DeepSeek V3). With 3, most holds are a little too large. If one is too small, the end of the
# completion extends it.
BYTES_PER_ESTIMATED_TOKEN = 3
# A generous estimate of what a chat template adds to each message, and to the prompt as a whole.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_PROMPT = 16
# Fields that a model reads, as JSON, besides the messages.
SCHEMA_FIELDS = ("tools", "functions", "response_format")
# Names of the cached prompt tokens beside OpenAI's: DeepSeek's (api-docs.deepseek.com, "Context Caching") and
# Anthropic's, which LiteLLM states beside OpenAI's. Read 2026-11-29.
CACHE_FIELDS = ("prompt_cache_hit_tokens", "cache_read_input_tokens")

# A tokenizer: returns the number of tokens of a text.
CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in micro-dollars per million tokens.

    cached_prompt_micros: for prompt tokens that the upstream read from its cache; None if they cost as all others.
    """

    prompt_micros: int
    completion_micros: int
    cached_prompt_micros: int | None = None

    def price_micros(self, *, prompt_tokens: int, completion_tokens: int, cached_prompt_tokens: int = 0) -> int:
        """Return the price, rounded half up to one micro-dollar.

        cached_prompt_tokens: those of the prompt tokens that came from the upstream's cache.
        """
        exact = prompt_tokens * self.prompt_micros + completion_tokens * self.completion_micros
        if self.cached_prompt_micros is not None:
            exact -= min(cached_prompt_tokens, prompt_tokens) * (self.prompt_micros - self.cached_prompt_micros)
        return (2 * exact + TOKENS_PER_PRICE) // (2 * TOKENS_PER_PRICE)

    def completion_tokens_for(self, micros: int, *, prompt_tokens: int) -> int:
        """Return how many completion tokens the amount pays for after the price of the prompt; 0 if for none."""
        if self.completion_micros == 0:
            return TOKENS_PER_PRICE
        left = micros * TOKENS_PER_PRICE - prompt_tokens * self.prompt_micros
        return max(0, left // self.completion_micros)


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one completion.

    completion_tokens: all that the model wrote, with its reasoning.
    cached_prompt_tokens: those of the prompt tokens that came from the upstream's cache.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int = 0


class Source(Enum):
    """Where the token numbers of a BilledUsage come from. The values are stored in the database."""

    UPSTREAM = "upstream"
    # The upstream stated more than the request can have used, so the ceiling is charged.
    CAPPED = "cut"
    COUNTED = "counted"


@dataclass(frozen=True, slots=True)
class BilledUsage:
    """The usage that is charged, and its source."""

    usage: Usage
    source: Source


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most tokens that a request can use, whatever an upstream states.

    prompt_tokens: a token is at least one byte of the request, and templates add a little.
    completion_tokens: the limit that was sent to the upstream, for all choices together.
    """

    prompt_tokens: int
    completion_tokens: int


def read_usage(value: object) -> Usage | None:
    """Return the usage that an upstream states, None if it is missing or not a pair of whole numbers. Zero is valid.

    OpenAI counts reasoning inside `completion_tokens`. Gemini and xAI leave it out and count it in `total_tokens` only
    (Portkey-AI/gateway pull request 1458; docs.x.ai, "Reasoning"; read 2026-11-29). What the total has more than prompt
    and completion is therefore reasoning, but never more than an upstream that states its reasoning states.
    """
    if not isinstance(value, Mapping):
        return None
    prompt, completion = _whole(value.get("prompt_tokens")), _whole(value.get("completion_tokens"))
    total = _whole(value.get("total_tokens"))
    if total is not None and prompt is not None and completion is None and value.get("completion_tokens") is None:
        completion = total - prompt
    if prompt is None or completion is None or completion < 0:
        return None
    outside = max(0, (total or 0) - prompt - completion)
    reasoning = _detail(value, "completion_tokens_details", "reasoning_tokens", others=("reasoning_tokens",))
    completion += outside if reasoning is None else min(outside, reasoning)
    cached = _detail(value, "prompt_tokens_details", "cached_tokens", others=CACHE_FIELDS)
    return Usage(prompt, completion, min(cached or 0, prompt))


def _detail(usage: Mapping[str, Any], name: str, detail: str, *, others: tuple[str, ...]) -> int | None:
    """Return a number that OpenAI states in an object of details, and other upstreams beside the tokens."""
    details = usage.get(name)
    found = [details.get(detail)] if isinstance(details, Mapping) else []
    numbers = [_whole(each) for each in [*found, *(usage.get(other) for other in others)]]
    return max((number for number in numbers if number is not None), default=None)


def _whole(value: object) -> int | None:
    """Return a whole number of at least zero, also one that is written as 18.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def estimate_prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return an estimate of the prompt's tokens from its bytes, for the hold."""
    text_bytes = attachment_tokens = 0
    for text, part in _texts(body.get("messages")):
        if part:
            attachment_tokens += attachments.estimate_tokens(text, part=part)
        else:
            text_bytes += len(text.encode("utf-8", "replace"))
    # Every other field counts too, because some server may show it to its model.
    others = {name: value for name, value in body.items() if name not in ("messages", "model")}
    if others:
        text_bytes += len(_as_json(others).encode("utf-8", "replace"))
    return (
        -(-text_bytes // BYTES_PER_ESTIMATED_TOKEN)
        + attachment_tokens
        + TOKENS_PER_MESSAGE * _message_count(body)
        + TOKENS_PER_PROMPT
    )


def max_prompt_tokens(body: Mapping[str, Any], *, body_bytes: int) -> int:
    """Return the most tokens that the prompt of this request can have.

    body_bytes: the size of the request as it was received, with its brackets: the schema of a tool can consist of
        brackets only.
    """
    count = sum(bool(part) for _, part in _texts(body.get("messages")))
    # An attachment that the request names by its address can be large.
    return body_bytes + 20 * attachments.MIN_TOKENS * count + 64 * _message_count(body) + 512


def count_prompt_tokens(body: Mapping[str, Any], *, count_tokens: CountTokens) -> int:
    """Return the tokens of a prompt by the tokenizer.

    Counts all texts of the messages. The name of a role stands for the token by which a template marks the role; this
    is wrong by a token or two per message. Tools are counted as they are sent, and templates add some tens of tokens.
    A text in an attachment is counted, and everything else in one has the tokens of a picture.
    """
    messages = 0
    for text, part in _texts(body.get("messages")):
        read = attachments.text_in(text, part=part) if part else text
        messages += attachments.MIN_TOKENS if read is None else count_tokens(read)
    return messages + sum(count_tokens(_as_json(body[name])) for name in SCHEMA_FIELDS if body.get(name))


@dataclass(slots=True)
class UsageMeter:
    """Follows one completion chunk by chunk.

    stated: the last usage that the upstream stated.
    sent: the counted usage that was sent to the client. It is charged, and not counted again.
    finish: the last finish reason of the model, "" before.
    finished: the indices of the choices that have a finish reason, and no text after it.
    is_begun: whether the upstream has produced anything.
    is_stale: whether the model wrote text after `stated`, so that `stated` is too low unless it is stated again.
    """

    stated: Usage | None = None
    sent: Usage | None = None
    finish: str = ""
    finished: set[object] = field(default_factory=set)
    is_begun: bool = False
    is_stale: bool = False
    # UTF-8: a list of the texts would take five times the memory.
    _produced: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: Mapping[str, Any]) -> None:
        """Read one chunk of a stream, or a whole answer."""
        usage = read_usage(chunk.get("usage"))
        if usage is not None:
            # Some upstreams state the usage again and again as it grows: the last statement counts.
            self.stated, self.is_stale = usage, False
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, Mapping):
                continue
            self.is_begun = True
            reason = choice.get("finish_reason")
            index = choice.get("index")
            if reason:
                self.finished.add(index if isinstance(index, int) else 0)
            # The reason is stored, and a database accepts neither a null character nor a lone surrogate.
            if isinstance(reason, str) and reason.isprintable():
                self.finish = reason
            for text in _produced_texts(choice.get("delta") or choice.get("message")):
                self._produced += text.encode("utf-8", "replace")
                self.is_stale |= bool(text) and usage is None
                if text and not reason:
                    self.finished.discard(index if isinstance(index, int) else 0)

    @property
    def needs_counting(self) -> bool:
        """Whether `billed_usage` needs the tokenizer: without a usage, with one before the last text, and with zero
        tokens for a text. Zero for no text is valid."""
        if self.stated is None or self.is_stale:
            return True
        return bool(self._produced) and not (self.stated.prompt_tokens and self.stated.completion_tokens)

    def billed_usage(
        self, *, count_prompt: Callable[[], int], count_tokens: CountTokens, ceiling: Ceiling
    ) -> BilledUsage:
        """Return the usage that is charged.

        count_prompt: returns the tokens of the prompt. It takes time, so it is called only if they must be counted.
        """
        if self.stated is None and self.sent is not None:
            return BilledUsage(self.sent, Source.COUNTED)
        stated = self.stated
        if stated is None:
            completion_tokens = min(self._count_produced(count_tokens), ceiling.completion_tokens)
            return BilledUsage(Usage(min(count_prompt(), ceiling.prompt_tokens), completion_tokens), Source.COUNTED)
        prompt_tokens, completion_tokens = stated.prompt_tokens, stated.completion_tokens
        if self._produced and not prompt_tokens:
            prompt_tokens = count_prompt()
        if self.is_stale or (self._produced and not completion_tokens):
            completion_tokens = max(completion_tokens, self._count_produced(count_tokens))
        possible = Usage(
            min(prompt_tokens, ceiling.prompt_tokens),
            min(completion_tokens, ceiling.completion_tokens),
            min(stated.cached_prompt_tokens, ceiling.prompt_tokens),
        )
        if (prompt_tokens, completion_tokens) != (stated.prompt_tokens, stated.completion_tokens):
            return BilledUsage(possible, Source.COUNTED)
        return BilledUsage(possible, Source.UPSTREAM if possible == stated else Source.CAPPED)

    def _count_produced(self, count_tokens: CountTokens) -> int:
        return count_tokens(self._produced.decode("utf-8", "replace"))


def _produced_texts(message: object) -> Iterator[str]:
    """Yield every text that a model wrote: content, refusal, reasoning (two names), names and arguments of calls."""
    if not isinstance(message, Mapping):
        return
    for name in ("content", "refusal", "reasoning_content", "reasoning"):
        if isinstance(message.get(name), str):
            yield message[name]
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    for function in [*functions, message.get("function_call")]:
        if isinstance(function, Mapping):
            yield from (function[name] for name in ("name", "arguments") if isinstance(function.get(name), str))


def _message_count(body: Mapping[str, Any]) -> int:
    messages = body.get("messages")
    return len(messages) if isinstance(messages, list) else 0


# Making an encoder takes as long as writing the few fields of a request.
_as_json = json.JSONEncoder(ensure_ascii=False).encode


def _texts(messages: object) -> Iterator[tuple[str, str]]:
    """Yield all texts inside messages as pairs of (text, type of the part whose data or address it is, or "").

    Field names and numbers are skipped; they do not reach the model.
    """
    waiting: list[tuple[object, str, str]] = [(messages, "", "")]
    while waiting:
        value, name, part = waiting.pop()
        if isinstance(value, str):
            yield value, part if name in attachments.FIELDS else ""
        elif isinstance(value, list):
            waiting.extend((each, name, part) for each in value)
        elif isinstance(value, dict):
            kind = value.get("type")
            inner = part or (kind if isinstance(kind, str) and kind in attachments.PARTS else "")
            waiting.extend((each, each_name, inner) for each_name, each in value.items())
