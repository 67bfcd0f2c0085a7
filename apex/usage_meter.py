"""Measures the tokens of a completion and computes its price. Pure: no Django, no clock, no network, no tokenizer.

The usage that the upstream states is what is charged, also when it states zero. If the usage is missing or impossible,
the tokens are counted with the tokenizer that the caller passes in.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

TOKENS_PER_PRICE = 1_000_000
# For the estimate by which money is held. English has 4 to 5 bytes per token, Chinese 3 to 4, code 2.5 to 3.5 (measured
# with the vocabulary of DeepSeek V3). With 3, most holds are a little too large. If one is too small, the end of the
# completion extends it.
BYTES_PER_ESTIMATED_TOKEN = 3
# A generous estimate of what a chat template adds to each message, and to the prompt as a whole.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_PROMPT = 16
# For a picture or a sound inside the request. Its bytes say nothing about its tokens.
TOKENS_PER_ATTACHMENT = 1_500
# Fields that a model reads, as JSON, besides the messages.
SCHEMA_FIELDS = ("tools", "functions", "response_format")
# The types of message parts that are attachments, and the fields of such a part that hold its data or its address.
# The type of the part decides, never the beginning of a text: a client could write "data:" before the text of a book
# and pay the price of a picture.
ATTACHMENT_PARTS = (
    "image_url",
    "input_image",
    "image",
    "input_audio",
    "audio_url",
    "video_url",
    "input_video",
    "file",
    "input_file",
    "document",
)
ATTACHMENT_FIELDS = ("url", "data", "image_url", "audio_url", "video_url", "file_data", "file_url", "file_id")

# A tokenizer: returns the number of tokens of a text.
CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in micro-dollars per million tokens."""

    prompt_micros: int
    completion_micros: int

    def price_micros(self, *, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the price, rounded half up to one micro-dollar."""
        exact = prompt_tokens * self.prompt_micros + completion_tokens * self.completion_micros
        return (2 * exact + TOKENS_PER_PRICE) // (2 * TOKENS_PER_PRICE)

    def completion_tokens_for(self, micros: int, *, prompt_tokens: int) -> int:
        """Return how many completion tokens the amount pays for after the price of the prompt; 0 if for none."""
        if self.completion_micros == 0:
            return TOKENS_PER_PRICE
        left = micros * TOKENS_PER_PRICE - prompt_tokens * self.prompt_micros
        return max(0, left // self.completion_micros)


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one completion."""

    prompt_tokens: int
    completion_tokens: int


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
    """Return the usage that an upstream states, None if it is missing or not a pair of whole numbers. Zero is valid."""
    if not isinstance(value, Mapping):
        return None
    numbers = [value.get("prompt_tokens"), value.get("completion_tokens")]
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in numbers):
        return None
    return Usage(*numbers)  # type: ignore[arg-type]  # checked above


def estimate_prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return an estimate of the prompt's tokens from its bytes, for the hold."""
    text_bytes = attachments = 0
    for text, is_attachment in _texts(body.get("messages")):
        if is_attachment:
            attachments += 1
        else:
            text_bytes += len(text.encode("utf-8", "replace"))
    # Every other field counts too, because some server may show it to its model.
    others = {name: value for name, value in body.items() if name not in ("messages", "model")}
    if others:
        text_bytes += len(_as_json(others).encode("utf-8", "replace"))
    return (
        -(-text_bytes // BYTES_PER_ESTIMATED_TOKEN)
        + TOKENS_PER_ATTACHMENT * attachments
        + TOKENS_PER_MESSAGE * _message_count(body)
        + TOKENS_PER_PROMPT
    )


def max_prompt_tokens(body: Mapping[str, Any], *, body_bytes: int) -> int:
    """Return the most tokens that the prompt of this request can have.

    body_bytes: the size of the request as it was received, with its brackets: the schema of a tool can consist of
        brackets only.
    """
    attachments = sum(is_attachment for _, is_attachment in _texts(body.get("messages")))
    # An attachment that the request names by its address can be large.
    return body_bytes + 20 * TOKENS_PER_ATTACHMENT * attachments + 64 * _message_count(body) + 512


def count_prompt_tokens(body: Mapping[str, Any], *, count_tokens: CountTokens) -> int:
    """Return the tokens of a prompt by the tokenizer.

    Counts all texts of the messages. The name of a role stands for the token by which a template marks the role; this
    is wrong by a token or two per message. Tools are counted as they are sent, and templates add some tens of tokens.
    """
    messages = sum(
        TOKENS_PER_ATTACHMENT if is_attachment else count_tokens(text)
        for text, is_attachment in _texts(body.get("messages"))
    )
    return messages + sum(count_tokens(_as_json(body[name])) for name in SCHEMA_FIELDS if body.get(name))


@dataclass(slots=True)
class UsageMeter:
    """Follows one completion chunk by chunk.

    stated: the last usage that the upstream stated.
    sent: the counted usage that was sent to the client. It is charged, and not counted again.
    finish: the last finish reason of the model, "" before.
    is_begun: whether the upstream has produced anything.
    is_stale: whether the model wrote text after `stated`, so that `stated` is too low unless it is stated again.
    """

    stated: Usage | None = None
    sent: Usage | None = None
    finish: str = ""
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
            # The reason is stored, and a database accepts neither a null character nor a lone surrogate.
            if isinstance(reason, str) and reason.isprintable():
                self.finish = reason
            for text in _produced_texts(choice.get("delta") or choice.get("message")):
                self._produced += text.encode("utf-8", "replace")
                self.is_stale |= bool(text) and usage is None

    @property
    def needs_counting(self) -> bool:
        """Whether `billed_usage` needs the tokenizer."""
        return self.stated is None or self.is_stale

    def billed_usage(
        self, *, count_prompt: Callable[[], int], count_tokens: CountTokens, ceiling: Ceiling
    ) -> BilledUsage:
        """Return the usage that is charged.

        count_prompt: returns the tokens of the prompt. It takes time, so it is called only if they must be counted.
        """
        if self.stated is None and self.sent is not None:
            return BilledUsage(self.sent, Source.COUNTED)
        if self.needs_counting:
            completion_tokens = min(count_tokens(self._produced.decode("utf-8", "replace")), ceiling.completion_tokens)
            if self.stated is None:
                return BilledUsage(Usage(min(count_prompt(), ceiling.prompt_tokens), completion_tokens), Source.COUNTED)
            if completion_tokens > self.stated.completion_tokens:
                prompt_tokens = self.stated.prompt_tokens or count_prompt()
                return BilledUsage(Usage(min(prompt_tokens, ceiling.prompt_tokens), completion_tokens), Source.COUNTED)
        assert self.stated is not None, "else it was counted"
        possible = Usage(
            min(self.stated.prompt_tokens, ceiling.prompt_tokens),
            min(self.stated.completion_tokens, ceiling.completion_tokens),
        )
        return BilledUsage(possible, Source.UPSTREAM if possible == self.stated else Source.CAPPED)


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


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _texts(messages: object) -> Iterator[tuple[str, bool]]:
    """Yield all texts inside messages as pairs of (text, is it the data or the address of an attachment).

    Field names and numbers are skipped; they do not reach the model.
    """
    waiting: list[tuple[object, str, bool]] = [(messages, "", False)]
    while waiting:
        value, name, is_in_part = waiting.pop()
        if isinstance(value, str):
            yield value, is_in_part and name in ATTACHMENT_FIELDS
        elif isinstance(value, list):
            waiting.extend((each, name, is_in_part) for each in value)
        elif isinstance(value, dict):
            is_part = is_in_part or value.get("type") in ATTACHMENT_PARTS
            waiting.extend((each, each_name, is_part) for each_name, each in value.items())
