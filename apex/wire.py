"""OpenAI's chat completions as the VoxParse seed has them: read requests, show answers. Pure translation.

OpenAI API reference, chat/create (read 2026-11-20). Fields that are not named here pass through untouched, whatever
they are, except those of REFUSED and OTHER_NAMES.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from accounts.errors import BadRequest, InvalidField, MissingField, VoxsiteError
from apex.usage_meter import Usage

DEFAULT_MAX_TOKENS = 4096
DEFAULT_TEMPERATURE = 0.7
# OpenAI's newer name for the same limit, and the seed's.
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MOST_CHOICES = 8
# Reading a body holds up all other streams, and what it holds up by is its objects: four megabytes of empty lists took
# two seconds. As a text, so many brackets are more than any model reads.
MOST_BRACKETS = 200_000
# In the usage of OpenRouter (docs, "Usage Accounting", read 2026-11-20); the first in that of LiteLLM too.
UPSTREAM_COSTS = frozenset({"cost", "cost_details", "is_byok"})
# Routers of many models (OpenRouter's API reference, read 2026-11-20) take these to choose another model, provider or
# tool than the one that is priced here: at its price, the request would buy something dearer. So would those after
# them that LiteLLM's proxy takes (its documentation of completion(), read 2026-11-20); `extra_body` replaces any field
# that we set, `additional_drop_params` takes out the limit, `best_of` makes a server write more than `n` says, and
# `chat_template` is a program of the client's. OpenAI bills what the model rejects of a `prediction` as if written.
REFUSED = (
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
# What some servers, or providers behind LiteLLM (it passes on what it does not know), call the limit and the number of
# choices: llama.cpp's `n_predict` goes before `max_tokens`, Ollama says `num_predict`, Hugging Face `max_new_tokens`,
# `max_length` and `num_return_sequences`, Gemini `max_output_tokens` and `candidate_count`, with capitals or without.
# Passed on, they would have the model write more than is held for. OpenAI refuses them as well, as it does all names
# that it does not know; to take them for ours would be guessing, as `max_length` counts the prompt.
OTHER_NAMES = {
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


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request that can be relayed.

    body: as it came. completion_tokens: the limit that it asks for, for each of its choices.
    """

    body: dict[str, Any]
    model: str
    is_stream: bool
    wants_usage: bool
    completion_tokens: int
    choice_count: int

    def upstream_body(self, *, model: str, completion_tokens: int) -> dict[str, Any]:
        """Return what an upstream is asked: the same, with its name of the model, the limit that is paid for, the
        seed's defaults, and usage at the end of a stream.
        """
        body = {"temperature": DEFAULT_TEMPERATURE, **self.body, "model": model, "stream": self.is_stream}
        if body["temperature"] is None:
            body["temperature"] = DEFAULT_TEMPERATURE
        fields = [name for name in LIMIT_FIELDS if body.get(name) is not None] or ["max_tokens"]
        body |= {name: min(body.get(name) or completion_tokens, completion_tokens) for name in fields}
        if self.is_stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        else:
            body.pop("stream_options", None)
        return body


def read_request(raw: bytes, *, most_completion_tokens: Mapping[str, int]) -> ChatRequest:
    """Return the request.

    most_completion_tokens: the limit of every model there is, by name.
    Raises BadRequest, MissingField or InvalidField for what cannot be relayed.
    """
    body = _read_json(raw)
    for name in REFUSED:
        if body.get(name) is not None:
            raise InvalidField(name, f"The field '{name}' is not supported here.")
    for name, ours in OTHER_NAMES.items():
        if body.get(name) is not None:
            raise InvalidField(name, f"The field '{name}' is not supported here: use '{ours}'.")
    model = _required(body, "model")
    if not isinstance(model, str):
        raise InvalidField("model", "The field 'model' must be a text.")
    if model not in most_completion_tokens:
        raise InvalidField("model", f"There is no model '{model[:64]}'. Models: {', '.join(most_completion_tokens)}.")
    _check_messages(_required(body, "messages"))
    _check_number(body, "temperature", minimum=0, maximum=2)
    _check_number(body, "top_p", minimum=0, maximum=1)
    is_stream = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidField("stream_options", "The field 'stream_options' must be an object.")
    asked = [_whole(body, name, minimum=1) for name in LIMIT_FIELDS if body.get(name) is not None]
    choice_count = _whole(body, "n", minimum=1, maximum=MOST_CHOICES) if body.get("n") is not None else 1
    return ChatRequest(
        body=body,
        model=model,
        is_stream=is_stream,
        wants_usage=bool(options and options.get("include_usage")),
        completion_tokens=min(*asked, most_completion_tokens[model])
        if asked
        else min(DEFAULT_MAX_TOKENS, most_completion_tokens[model]),
        choice_count=choice_count,
    )


def show_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error: the seed's message and code, in OpenAI's envelope."""
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
    """Return OpenAI's list of models, our limit beside each.

    models: the most completion tokens of each, by name.
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
    """Return a chunk for a client that did not ask for usage, None when there was nothing else in it."""
    if not chunk.get("choices"):
        return None
    return json.dumps({name: value for name, value in chunk.items() if name != "usage"}).encode()


def without_costs(payload: bytes, chunk: Mapping[str, Any]) -> bytes:
    """Return what an upstream gave, without what it charges the operator: not what the customer pays."""
    usage = chunk.get("usage")
    if not isinstance(usage, dict) or usage.keys().isdisjoint(UPSTREAM_COSTS):
        return payload
    told = {name: value for name, value in usage.items() if name not in UPSTREAM_COSTS}
    return json.dumps({**chunk, "usage": told}).encode()


def usage_chunk(chunk: Mapping[str, Any], usage: Usage) -> bytes:
    """Return the last chunk of a stream whose upstream never stated its usage, from its first chunk."""
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
    if raw.count(b"[") + raw.count(b"{") > MOST_BRACKETS:
        raise BadRequest("The body has too many lists and objects.")
    try:
        body = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is broken: it is not JSON in UTF-8.") from error
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    # 1e999 would be sent on as Infinity, which is no JSON: the upstream would fail, and rest from all customers.
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


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
        # An assistant that called a tool said nothing.
        if not isinstance(content, str | list) and not (content is None and message["role"] == "assistant"):
            raise InvalidField(f"messages[{number}].content", "A content is a text or a list of parts.")


def _check_number(body: Mapping[str, Any], name: str, *, minimum: float, maximum: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise InvalidField(name, f"The field '{name}' must be a number from {minimum:g} to {maximum:g}.")


def _whole(body: Mapping[str, Any], name: str, *, minimum: int, maximum: int | None = None) -> int:
    value = body[name]
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < minimum or (maximum is not None and value > maximum):
        upper = f" to {maximum}" if maximum is not None else " or more"
        raise InvalidField(name, f"The field '{name}' must be a whole number, {minimum}{upper}.")
    return int(value)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidField(name, f"The field '{name}' must be true or false.")
    return bool(value)
