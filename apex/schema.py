"""The OpenAPI description of the chat endpoint. Written by hand, because its views are not DRF views."""

from typing import Any

# What an error may have beside its type: seconds to wait, and what is needed, there or left of a limit.
AMOUNTS = (
    "retry_after",
    "required_micros",
    "required_cents",
    "available_micros",
    "available_cents",
    "limit_micros",
    "left_micros",
    "left_cents",
)
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "code": {"type": "integer", "description": "The HTTP status."},
                "type": {"type": "string", "description": "Stable: check this in programs."},
                "param": {"type": ["string", "null"], "description": "The field with the error."},
                "request_id": {"type": "string"},
                **{name: {"type": "integer"} for name in AMOUNTS},
                **{name: {"type": "string"} for name in ("limit", "resets_at")},
            },
            "required": ["message", "code", "type", "param", "request_id"],
        }
    },
    "required": ["error"],
}
DETAILS = {"type": ["object", "null"], "additionalProperties": True}
# Every field may be missing, because it is shown as the upstream states it.
USAGE = {
    "type": ["object", "null"],
    "properties": {
        **{name: {"type": "number"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "prompt_tokens_details": {**DETAILS, "description": "Such as cached_tokens, those read from a cache."},
        "completion_tokens_details": {**DETAILS, "description": "Such as reasoning_tokens."},
    },
    "additionalProperties": True,
    "description": "As the upstream states it.",
}
TOOL_CALLS = {
    "type": ["array", "null"],
    "items": {"type": "object", "additionalProperties": True},
    "description": "Each has an id, a type, and a function with a name and its arguments as JSON in a text.",
}
CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]}
MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {**CONTENT, "description": "A text, or a list of OpenAI's content parts."},
        "name": {"type": ["string", "null"]},
        "tool_calls": {**TOOL_CALLS, "description": "What an assistant called."},
        "tool_call_id": {"type": ["string", "null"], "description": "The call that a turn of a tool answers."},
    },
    "required": ["role"],
    "additionalProperties": True,
}


def _component(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


REQUEST = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "minLength": 1, "description": "apex-latest, or another one of /v1/apex/models."},
        "messages": {"type": "array", "items": _component("ChatMessage"), "minItems": 1},
        "max_tokens": {
            "type": ["integer", "null"],
            "minimum": 1,
            "default": 4096,
            "description": "Reduced to what the balance covers. max_completion_tokens works too.",
        },
        "temperature": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 2,
            "description": "0.7 for apex-latest if there is none. Other models use their own.",
        },
        "stream": {"type": ["boolean", "null"], "default": False, "description": "Answer with server-sent events."},
        "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_usage": {"type": "boolean", "description": "State usage in a last chunk."}},
        },
    },
    "required": ["model", "messages"],
    "additionalProperties": True,
    "description": "OpenAI's other fields (tools, response_format, stop, top_p, seed ...) are passed on as they are.",
}
ANSWER = {
    "type": "object",
    "properties": {
        "role": {"type": "string"},
        "content": {**CONTENT, "description": "Null if the model calls tools instead. Some models answer in parts."},
        "tool_calls": TOOL_CALLS,
        "refusal": {"type": ["string", "null"]},
        "reasoning_content": {"type": ["string", "null"]},
    },
    "additionalProperties": True,
}
CHOICE = {
    "type": "object",
    "properties": {
        "index": {"type": "integer"},
        "message": ANSWER,
        "finish_reason": {"type": ["string", "null"], "description": "stop, length, tool_calls, content_filter ..."},
    },
    "additionalProperties": True,
}
COMPLETION = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "description": "chat.completion"},
        "created": {"type": "number"},
        "model": {"type": "string", "description": "The model that answered."},
        "choices": {"type": "array", "items": CHOICE},
        "usage": USAGE,
    },
    "required": ["choices"],
    "additionalProperties": True,
}
EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "A chunk as JSON, an error as JSON, or [DONE]."}},
    "required": ["data"],
}
MODELS = {
    "type": "object",
    "properties": {
        "object": {"type": "string", "enum": ["list"]},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "object": {"type": "string", "enum": ["model"]},
                    "created": {"type": "integer"},
                    "owned_by": {"type": "string"},
                    "max_completion_tokens": {"type": "integer"},
                },
            },
        },
    },
}
# What the operations refer to.
COMPONENTS: dict[str, Any] = {
    "ChatError": ERROR,
    "ChatMessage": MESSAGE,
    "ChatRequest": REQUEST,
    "ChatCompletion": COMPLETION,
    "ChatEvent": EVENT,
    "ChatModelList": MODELS,
}
SECURITY: list[dict[str, list[str]]] = [{"ApiKeyHeader": []}, {"BearerKey": []}]
MEANINGS = {
    400: "The request is invalid, or the model's provider refused it.",
    401: "No API key, or an invalid one.",
    402: "The balance or a monthly limit does not cover the minimum price.",
    403: "The organization's owner has not verified an email address.",
    408: "The body did not arrive in time.",
    409: "The Idempotency-Key was used for another request, or the first one still runs.",
    413: "The body is too large.",
    429: "Too many requests in a minute or open at once, or the model is busy. Retry-After says when.",
    502: "The model's provider failed. Nothing was charged.",
    503: "The chat endpoint is not configured.",
}


def _errors(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {
            "description": MEANINGS[status],
            "content": {"application/json": {"schema": _component("ChatError")}},
        }
        for status in statuses
    }


# By path below /v1/apex/, then by HTTP method.
OPERATIONS: dict[str, dict[str, Any]] = {
    "chat/completions": {
        "post": {
            "operationId": "create_chat_completion",
            "summary": "Create a chat completion",
            "description": "OpenAI's chat completions: point any OpenAI SDK at /v1/apex. Charged by the tokens that "
            "the model used; a stream that its reader leaves is charged for what was produced.",
            "tags": ["Chat"],
            "parameters": [
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "schema": {"type": "string"},
                    "description": "At most 255 characters. The same request with the same key within 24 hours gets "
                    "the stored answer.",
                }
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": _component("ChatRequest")}}},
            "security": SECURITY,
            "responses": {
                "200": {
                    "description": "The completion, or with `stream` a stream of chunks that ends with [DONE].",
                    "content": {
                        "application/json": {"schema": _component("ChatCompletion")},
                        "text/event-stream": {"schema": _component("ChatEvent")},
                    },
                },
                **_errors(400, 401, 402, 403, 408, 409, 413, 429, 502, 503),
            },
        }
    },
    "models": {
        "get": {
            "operationId": "list_chat_models",
            "summary": "List chat models",
            "description": "The names that `model` may have.",
            "tags": ["Chat"],
            "security": SECURITY,
            "responses": {
                "200": {
                    "description": "All models.",
                    "content": {"application/json": {"schema": _component("ChatModelList")}},
                },
                **_errors(401, 403, 429),
            },
        }
    },
}
