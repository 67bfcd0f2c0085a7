"""What a completion used and what that costs. Pure: no Django, no clock, no network; the tokenizer is passed in.

Usage that the upstream states is what is charged. An explicit zero is a statement; a missing or impossible one is none,
and then the tokens are counted.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

TOKENS_PER_PRICE = 1_000_000
# For holding money before anything is counted. English has 4 to 5 bytes a token, Chinese 3 to 4, code 2.5 to 3.5
# (measured with the vocabulary of DeepSeek V3): with 3 a hold is mostly a little large. What it lacks is added when
# the completion ends.
BYTES_PER_HELD_TOKEN = 3
# What a chat template adds around each message and around all of them, generously.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_PROMPT = 16
# A picture or a sound inside the request is no text, and its bytes say nothing about its tokens.
TOKENS_PER_ATTACHMENT = 1_500
# What a model is given to read besides the messages, as JSON.
SCHEMA_FIELDS = ("tools", "functions", "response_format")
# Parts of a message that are no text, and the fields in which they carry or name what they are. Never by how a text
# begins: whoever wrote "data:" before a book would have it read for the price of a picture.
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

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-dollars per million tokens."""

    prompt_micros: int
    completion_micros: int

    def price_micros(self, *, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the price, rounded half up to one micro-dollar."""
        exact = prompt_tokens * self.prompt_micros + completion_tokens * self.completion_micros
        return (2 * exact + TOKENS_PER_PRICE) // (2 * TOKENS_PER_PRICE)

    def completion_tokens_for(self, micros: int, *, prompt_tokens: int) -> int:
        """Return how many tokens of completion such an amount pays for, after the prompt; 0 when it pays for none."""
        if self.completion_micros == 0:
            return TOKENS_PER_PRICE
        left = micros * TOKENS_PER_PRICE - prompt_tokens * self.prompt_micros
        return max(0, left // self.completion_micros)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one completion."""

    prompt_tokens: int
    completion_tokens: int


class Source(Enum):
    """Where the tokens of a measure come from."""

    UPSTREAM = "upstream"
    # The upstream stated more than it can have used; the possible is charged.
    CUT = "cut"
    COUNTED = "counted"


@dataclass(frozen=True, slots=True)
class Measure:
    """What is charged, and why so much."""

    usage: Usage
    source: Source


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a request can use, whatever an upstream says.

    prompt_tokens: a token is at least one byte of the request, and templates add a little. completion_tokens: what was
    asked for.
    """

    prompt_tokens: int
    completion_tokens: int


def read_usage(value: object) -> Usage | None:
    """Return what an upstream's `usage` states, None when it is missing or nonsense. Zeros are a statement."""
    if not isinstance(value, Mapping):
        return None
    numbers = [value.get("prompt_tokens"), value.get("completion_tokens")]
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in numbers):
        return None
    return Usage(*numbers)  # type: ignore[arg-type]


def held_prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the tokens of a prompt for the hold, from its bytes alone."""
    text_bytes = attachments = 0
    for text, is_attachment in _texts(body.get("messages")):
        if is_attachment:
            attachments += 1
        else:
            text_bytes += len(text.encode("utf-8", "replace"))
    # Whatever other field there is, some server lets its model read it.
    others = {name: value for name, value in body.items() if name not in ("messages", "model")}
    if others:
        text_bytes += len(_as_json(others).encode("utf-8", "replace"))
    return (
        -(-text_bytes // BYTES_PER_HELD_TOKEN)
        + TOKENS_PER_ATTACHMENT * attachments
        + TOKENS_PER_MESSAGE * _message_count(body)
        + TOKENS_PER_PROMPT
    )


def most_prompt_tokens(body: Mapping[str, Any], *, body_bytes: int) -> int:
    """Return the most that the prompt of this request can come to.

    body_bytes: of the request as it came, brackets and all: the schema of a tool can be made of nothing else.
    """
    attachments = sum(is_attachment for _, is_attachment in _texts(body.get("messages")))
    # What is only named by its address can be large.
    return body_bytes + 20 * TOKENS_PER_ATTACHMENT * attachments + 64 * _message_count(body) + 512


def count_prompt_tokens(body: Mapping[str, Any], *, count: Count) -> int:
    """Return the tokens of a prompt by the tokenizer.

    All of its texts, where the name of a role stands for the token by which a template marks it: a token or two per
    message away from the truth. Tools are counted as they are sent; templates wrap them in some tens of tokens more.
    """
    messages = sum(
        TOKENS_PER_ATTACHMENT if is_attachment else count(text) for text, is_attachment in _texts(body.get("messages"))
    )
    return messages + sum(count(_as_json(body[name])) for name in SCHEMA_FIELDS if body.get(name))


@dataclass(slots=True)
class Meter:
    """Follows a completion as it comes."""

    stated: Usage | None = None
    # What was told to the client is what is charged, without counting again.
    counted: Usage | None = None
    finish: str = ""
    is_begun: bool = False
    # Something was produced after usage was stated, so that says too little unless it is stated again.
    is_stale: bool = False
    # UTF-8: a list of the pieces would take five times the memory.
    _produced: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: Mapping[str, Any]) -> None:
        """Take in one chunk of a stream, or a whole answer."""
        usage = read_usage(chunk.get("usage"))
        if usage is not None:
            # Some state it again and again as it grows: the last word counts.
            self.stated, self.is_stale = usage, False
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, Mapping):
                continue
            self.is_begun = True
            reason = choice.get("finish_reason")
            # A database takes neither a null character nor half a surrogate pair, and the end must be written.
            if isinstance(reason, str) and reason.isprintable():
                self.finish = reason
            for text in _produced_texts(choice.get("delta") or choice.get("message")):
                self._produced += text.encode("utf-8", "replace")
                self.is_stale |= bool(text) and usage is None

    @property
    def must_count(self) -> bool:
        """Whether `measure` needs the tokenizer."""
        return self.stated is None or self.is_stale

    def measure(self, *, prompt: Callable[[], int], count: Count, most: Ceiling) -> Measure:
        """Return what is charged.

        prompt: gives the tokens of the prompt, asked only when they must be counted, as counting takes time.
        """
        if self.stated is None and self.counted is not None:
            return Measure(self.counted, Source.COUNTED)
        if self.must_count:
            completion_tokens = min(count(self._produced.decode("utf-8", "replace")), most.completion_tokens)
            if self.stated is None:
                return Measure(Usage(min(prompt(), most.prompt_tokens), completion_tokens), Source.COUNTED)
            if completion_tokens > self.stated.completion_tokens:
                prompt_tokens = self.stated.prompt_tokens or prompt()
                return Measure(Usage(min(prompt_tokens, most.prompt_tokens), completion_tokens), Source.COUNTED)
        assert self.stated is not None, "else it was counted"
        possible = Usage(
            min(self.stated.prompt_tokens, most.prompt_tokens),
            min(self.stated.completion_tokens, most.completion_tokens),
        )
        return Measure(possible, Source.UPSTREAM if possible == self.stated else Source.CUT)


def _produced_texts(message: object) -> Iterator[str]:
    """Give every text that a model wrote: content, refusal, reasoning under either name, names and arguments."""
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
    """Give all texts inside messages, and whether each stands for an attachment. No names of fields, no numbers: of
    those a model sees nothing.
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
