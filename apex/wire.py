"""The wire format of the chat endpoint: OpenAI's, with VoxParse's errors and defaults. Pure translation.

Source: OpenAI API reference, chat/create (read 2026-11-20). Fields that this module does not name are passed on
unchanged, except those of REFUSED_FIELDS and REFUSED_ALIASES. A field whose value means what would happen without it is
accepted and not passed on, because some upstreams refuse the field itself.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from accounts.errors import BadRequest, InvalidField, MissingField, VoxsiteError
from apex.usage_meter import Usage

DEFAULT_MAX_TOKENS = 4096
# Two names of the same limit: OpenAI's newer one, and VoxParse's.
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MAX_CHOICES = 8
# The parser blocks all streams of the process while it builds objects: four megabytes of empty lists took two seconds.
# A text with this many brackets is longer than any model can read, so the limit affects no real request.
MAX_BRACKETS = 200_000
# Fields of `usage` that state what the upstream charges the operator: OpenRouter has all of them (docs, "Usage
# Accounting", read 2026-11-20), LiteLLM has the first.
UPSTREAM_COST_FIELDS = frozenset({"cost", "cost_details", "is_byok"})
# Fields that would buy something else at the price of the chosen model, or get around its limits. Sources: OpenRouter's
# API reference and LiteLLM's documentation of completion(), both read 2026-11-20.
#  * Routers of many models take `models` to `audio` as a choice of another model, provider or tool.
#  * LiteLLM's proxy takes `fallbacks` to `mock_response`. `extra_body` replaces any field that we set, and
#    `additional_drop_params` removes the limit of tokens.
#  * `best_of` makes a server generate more choices than `n` says.
#  * OpenAI bills the rejected tokens of a `prediction` as if they were written.
#  * `chat_template` is a program, written by the client, that the upstream would run.
REFUSED_FIELDS = (
    "models",
    "route",
    "provider",
    "plugins",
    "preset",
    "service_tier",
    "web_search_options",
    "modalities",
    "audio",
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "api_base",
    "api_key",
    "base_url",
    "custom_llm_provider",
    "additional_drop_params",
    "extra_body",
    "extra_headers",
    "mock_response",
    "best_of",
    "prediction",
    "chat_template",
)
# Names that some servers use for our limit of tokens and our number of choices, with our name for each. LiteLLM passes
# fields that it does not know on to its providers. llama.cpp reads `n_predict` before `max_tokens`; Ollama has
# `num_predict`; Hugging Face has `max_new_tokens`, `max_length` and `num_return_sequences`; Gemini has
# `max_output_tokens` and `candidate_count`, also in camel case. If they were passed on, the model could write more than
# the hold pays for. They are not translated, because they differ in meaning: `max_length` counts the prompt too. OpenAI
# refuses them as well, as it refuses every unknown field.
REFUSED_ALIASES = {
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "max_gen_len": "max_tokens",
    "max_length": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "maxTokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "generation_config": "max_tokens",
    "generationConfig": "max_tokens",
    "num_return_sequences": "n",
    "num_generations": "n",
    "candidate_count": "n",
    "candidateCount": "n",
}
# Values by which clients write out what happens anyway, beside those of `_is_empty`. A priority or a flex price is no
# usual one. An empty `web_search_options` is none either: it asks OpenAI for a search.
USUAL_VALUES: dict[str, tuple[object, ...]] = {
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "best_of": (1,),
    "num_return_sequences": (1,),
    "num_generations": (1,),
    "candidate_count": (1,),
    "candidateCount": (1,),
}
_REFUSED = frozenset({*REFUSED_FIELDS, *REFUSED_ALIASES})
NEVER_USUAL_WHEN_EMPTY = ("web_search_options",)
# OpenAI takes these fields, but refuses an empty value of most of them, and many clients send one.
DROPPED_WHEN_EMPTY = ("stop", "logit_bias", "tools", "functions", "metadata", "response_format", "temperature")
# OpenAI refuses these without the field that they belong to.
CHOICES_OF_TOOLS = {"tools": ("tool_choice", "parallel_tool_calls"), "functions": ("function_call",)}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A valid request.

    body: the parsed JSON, without fields that mean what would happen without them, and with whole numbers as integers.
    completion_tokens: the requested limit for each choice, at most the limit of the model.
    """

    body: dict[str, Any]
    model: str
    is_stream: bool
    wants_usage: bool
    completion_tokens: int
    choice_count: int

    def upstream_body(
        self, *, model: str, completion_tokens: int, temperature: float | None = None, limit_field: str | None = None
    ) -> dict[str, Any]:
        """Return the request for an upstream: the client's request with these changes.

        It has the upstream's name of the model, a limit of at most `completion_tokens` for each choice, and in a stream
        the option to state usage at the end. Nothing else is added unless the model's settings say so:

        temperature: for a client that states none; None to state none.
        limit_field: the only name of the limit that the model knows; None for the name that the client used.
        """
        added = {} if temperature is None else {"temperature": temperature}
        body = {**added, **self.body, "model": model, "stream": self.is_stream}
        fields = [name for name in LIMIT_FIELDS if body.get(name) is not None] or ["max_tokens"]
        limit = min(completion_tokens, *(body.get(name) or completion_tokens for name in fields))
        if limit_field is not None:
            fields = [limit_field]
        for name in LIMIT_FIELDS:
            body.pop(name, None)
        body |= dict.fromkeys(fields, limit)
        if self.is_stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        else:
            body.pop("stream_options", None)
        return body


def read_request(raw: bytes, *, max_completion_tokens: Mapping[str, int]) -> ChatRequest:
    """Parse and validate a request body.

    max_completion_tokens: the limit of each model, by name.
    Raises BadRequest, MissingField or InvalidField.
    """
    body = _without_usual_values(_read_json(raw))
    _refuse_fields(body)
    model = _required(body, "model")
    if not isinstance(model, str):
        raise InvalidField("model", "The field 'model' must be a text.")
    if model not in max_completion_tokens:
        raise InvalidField("model", f"There is no model '{model[:64]}'. Models: {', '.join(max_completion_tokens)}.")
    _check_messages(_required(body, "messages"))
    _check_number(body, "temperature", minimum=0, maximum=2)
    _check_number(body, "top_p", minimum=0, maximum=1)
    is_stream = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidField("stream_options", "The field 'stream_options' must be an object.")
    for name, maximum in (*((name, None) for name in LIMIT_FIELDS), ("n", MAX_CHOICES)):
        if body.get(name) is not None:
            body[name] = _whole(body, name, minimum=1, maximum=maximum)
    asked = [body[name] for name in LIMIT_FIELDS if body.get(name) is not None]
    choice_count = body.get("n") or 1
    return ChatRequest(
        body=body,
        model=model,
        is_stream=is_stream,
        wants_usage=bool(options and options.get("include_usage")),
        completion_tokens=min(*asked, max_completion_tokens[model])
        if asked
        else min(DEFAULT_MAX_TOKENS, max_completion_tokens[model]),
        choice_count=choice_count,
    )


def _refuse_fields(body: Mapping[str, Any]) -> None:
    if body.keys().isdisjoint(_REFUSED):
        return
    for name in REFUSED_FIELDS:
        if name in body:
            raise InvalidField(name, f"The field '{name}' is not supported here.")
    for name, ours in REFUSED_ALIASES.items():
        if name in body:
            raise InvalidField(name, f"The field '{name}' is not supported here: use '{ours}'.")


def show_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the JSON of an error: OpenAI's object with VoxParse's message and code."""
    return {
        "error": {
            "message": error.message,
            "code": error.http_status,
            "type": error.type,
            "param": None,
            "request_id": request_id,
            **error.data,
        }
    }


def show_models(models: Mapping[str, int]) -> dict[str, Any]:
    """Return OpenAI's list of models, with our limit for each.

    models: the limit of completion tokens of each model, by name.
    """
    return {
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "voxsite",
                "max_completion_tokens": max_completion_tokens,
            }
            for name, max_completion_tokens in models.items()
        ],
    }


def without_usage(chunk: dict[str, Any]) -> bytes | None:
    """Return the chunk as JSON without its usage; None if it has no choices, so that nothing is left to send."""
    if not chunk.get("choices"):
        return None
    return json.dumps({name: value for name, value in chunk.items() if name != "usage"}).encode()


def without_costs(payload: bytes, chunk: Mapping[str, Any]) -> bytes:
    """Return the payload without the upstream's price for the operator, which is not what the customer pays.

    payload: the JSON of `chunk` as it was received; returned unchanged if it states no price.
    """
    usage = chunk.get("usage")
    if not isinstance(usage, dict) or usage.keys().isdisjoint(UPSTREAM_COST_FIELDS):
        return payload
    shown = {name: value for name, value in usage.items() if name not in UPSTREAM_COST_FIELDS}
    return json.dumps({**chunk, "usage": shown}).encode()


def usage_chunk(chunk: Mapping[str, Any], usage: Usage) -> bytes:
    """Return a last chunk that states the usage, for a stream whose upstream did not state it.

    chunk: the first chunk of the stream; the last one gets its id, creation time and model.
    """
    named = {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
    return json.dumps({**named, "choices": [], "usage": show_usage(usage)}).encode()


def show_usage(usage: Usage) -> dict[str, int]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _read_json(raw: bytes) -> dict[str, Any]:
    if raw.count(b"[") + raw.count(b"{") > MAX_BRACKETS:
        raise BadRequest("The body has too many lists and objects.")
    try:
        # As `json.loads`, which would make a decoder for each request.
        body = _DECODER.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is broken: it is not JSON in UTF-8.") from error
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    return body


def _without_usual_values(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body without the fields whose values mean what would happen without them."""
    dropped = {
        name
        for name in body.keys() & _REFUSED
        if (
            body[name] is None
            or (_is_empty(body[name]) and name not in NEVER_USUAL_WHEN_EMPTY)
            or any(type(body[name]) is type(usual) and body[name] == usual for usual in USUAL_VALUES.get(name, ()))
        )
    }
    for name in DROPPED_WHEN_EMPTY:
        if name in body and (body[name] is None or body[name] in ([], {})):
            dropped |= {name, *CHOICES_OF_TOOLS.get(name, ())}
    return {name: value for name, value in body.items() if name not in dropped} if dropped else body


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ("", [], {})


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    # Python reads 1e999 as infinity and writes it as Infinity, which is not JSON. The upstream would fail, and its open
    # circuit breaker would affect all customers.
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def _required(body: Mapping[str, Any], name: str) -> Any:
    if body.get(name) is None:
        raise MissingField(name)
    return body[name]


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidField("messages", "The field 'messages' must be a list of at least one message.")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidField(f"messages[{number}]", "A message must be an object with a role and a content.")
        if message.get("role") not in ROLES:
            raise InvalidField(f"messages[{number}].role", f"A role is one of: {', '.join(ROLES)}.")
        content = message.get("content")
        # The message of an assistant that called a tool has no content, and some clients write null for an empty text.
        has_none = content is None and ("content" in message or message["role"] == "assistant")
        if not isinstance(content, str | list) and not has_none:
            raise InvalidField(f"messages[{number}].content", "A content is a text or a list of parts.")


def _check_number(body: Mapping[str, Any], name: str, *, minimum: float, maximum: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise InvalidField(name, f"The field '{name}' must be a number from {minimum:g} to {maximum:g}.")


def _whole(body: Mapping[str, Any], name: str, *, minimum: int, maximum: int | None = None) -> int:
    value = body[name]
    # JavaScript and many other languages write whole numbers as 100.0 at times.
    is_whole = (
        value.is_integer() if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)
    )
    if not is_whole or value < minimum or (maximum is not None and value > maximum):
        upper = f" to {maximum}" if maximum is not None else " or more"
        raise InvalidField(name, f"The field '{name}' must be a whole number, {minimum}{upper}.")
    return int(value)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidField(name, f"The field '{name}' must be true or false.")
    return bool(value)
