"""Reads what one event of an upstream says: a chunk, nothing, or an error. Pure.

Upstreams differ in what they put where OpenAI puts a chunk. tests/apex/recordings/README.md names what each one sends.
"""

import json
from dataclasses import dataclass
from typing import Any


class BrokenChunk(Exception):
    """The upstream sent an error, or something that is no chunk. The text says what, for the log."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a stream, or a whole answer.

    raw: its JSON, as it was received where that serves every client.
    content: the parsed JSON. `choices` is a list of objects, each with an index.
    """

    raw: bytes
    content: dict[str, Any]


def read(payload: bytes) -> Chunk | None:
    """Return the chunk, or None if the event says nothing: null, {}, a ping, or neither choices nor usage.

    Raises BrokenChunk.
    """
    if not payload or payload.isspace():
        return None
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BrokenChunk("it sent something that is not JSON") from error
    if not content:
        return None
    if not isinstance(content, dict):
        raise BrokenChunk("it sent something that is no object")
    # vLLM's older errors have no field `error` (vllm, protocol.py, ErrorResponse, read 2026-11-29).
    if content.get("error") or content.get("object") == "error" or content.get("type") == "error":
        raise BrokenChunk("it sent an error where a chunk belongs")
    choices = content.get("choices")
    if choices and not isinstance(choices, list):
        raise BrokenChunk("its choices are no list")
    if not choices and not isinstance(content.get("usage"), dict):
        return None
    if not _is_complete(choices):
        content["choices"] = [
            {**choice, "index": position if choice.get("index") is None else choice["index"]}
            for position, choice in enumerate(choices or ())
            if isinstance(choice, dict)
        ]
        payload = json.dumps(content).encode()
    if any(choice.get("finish_reason") == "error" for choice in content["choices"]):
        raise BrokenChunk("it finished a choice with an error")
    return Chunk(payload.strip(), content)


def _is_complete(choices: object) -> bool:
    """Return whether choices are what every client can read: a list of objects with an index.

    Clients loop over the list, so null breaks them, also beside the usage.
    """
    return isinstance(choices, list) and all(
        isinstance(choice, dict) and choice.get("index") is not None for choice in choices
    )
