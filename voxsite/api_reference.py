"""The reference part of /docs/, made from the OpenAPI document: parameters, fields and answers of each address."""

import json
import re
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlencode

from drf_spectacular.generators import SchemaGenerator

from apex import schema as apex_schema

METHODS = ("get", "post", "put", "patch", "delete")
# Fields of objects that lie deeper are not listed.
MAX_DEPTH = 3
# Answers that may be a text, or a list of segments, in place of an object.
BARE = ("TranscribeApiAnswer", "TranscribeApiResult")


class AnswerKind(Enum):
    """What a request that succeeds is answered with."""

    JSON = "json"
    TEXT = "text"
    STREAM = "stream"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request or an answer. path: with dots, such as error.message."""

    path: str
    kind: str
    is_required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One possible answer."""

    status: str
    text: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer that the product gave (tests/whole/shown_answers.py). body: JSON with its indents, or text."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address."""

    anchor: str
    method: str
    path: str
    title: str
    text: str
    needs_key: bool
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    body_title: str
    answers: tuple[Answer, ...]
    examples: tuple[tuple[str, str], ...]
    shown: ShownAnswer | None

    @property
    def paragraphs(self) -> list[str]:
        return [one for one in self.text.split("\n\n") if one.strip()]

    @property
    def successes(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status < "400"]

    @property
    def refusals(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status >= "400"]


def add_chat(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the chat endpoint, whose views drf-spectacular does not know. A postprocessing hook (see settings)."""
    # A copy: the next hook changes what it finds, and the document may be made again.
    operations, components = deepcopy((apex_schema.OPERATIONS, apex_schema.COMPONENTS))
    result["paths"] |= {f"/v1/apex/{path}": methods for path, methods in operations.items()}
    result["components"]["schemas"] |= components
    return result


def say_what_serializers_cannot(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Mend what drf-spectacular cannot be told. The last postprocessing hook (see settings).

    A body is required everywhere, also one that is no form. A stream of events is either one text, or each event by
    itself. An answer that may have several shapes may fit two of them: verbose_json has all fields of json. One of
    TranscribeAPI may be a value alone.
    """
    for methods in result["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
            for response in operation["responses"].values():
                stream = response.get("content", {}).get("text/event-stream")
                if stream:
                    stream["schema"] = {"anyOf": [stream["schema"], {"type": "string"}]}
    schemas = result["components"]["schemas"]
    for schema in schemas.values():
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
    for name in BARE:
        segments = {"type": "array", "items": {"$ref": "#/components/schemas/TranscribeApiSegment"}}
        schemas[name]["anyOf"] += [{"type": "string"}, segments]
    return result


# drf-spectacular keeps what it has found in objects of the whole process, so two threads that make the document at the
# same time break each other's.
_making = Lock()


def document() -> dict[str, Any]:
    """Return the OpenAPI document. It depends only on code and settings, so each process makes it once."""
    with _making:
        return _make_document()


@lru_cache(maxsize=1)
def _make_document() -> dict[str, Any]:
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # drf-spectacular
    return schema


@lru_cache(maxsize=8)
def operations(*, site_url: str, key: str) -> tuple[Operation, ...]:
    """Return every operation, with examples that show the first characters of the key."""
    return tuple(
        _operation(path, method, methods[method], site_url=site_url, key=key)
        for path, methods in sorted(document()["paths"].items(), key=_rank)
        for method in METHODS
        if method in methods
    )


def _rank(item: tuple[str, Any]) -> tuple[bool, bool, str]:
    """Return the sort key: first the addresses that create something, then the rest of the API, then all others."""
    path = item[0]
    return not path.startswith("/v1/"), "post" not in item[1], path


def _operation(path: str, method: str, spec: dict[str, Any], *, site_url: str, key: str) -> Operation:
    title, _, rest = spec.get("description", "").strip().partition("\n")
    content = spec.get("requestBody", {}).get("content", {})
    media_type = next(iter(content), "")
    body = _fields(content[media_type].get("schema", {})) if media_type else ()
    needs_key = any(spec.get("security", document().get("security", [])))
    operation = spec.get("operationId", f"{method}{path}")
    return Operation(
        anchor=operation.replace("/", "-"),
        method=method.upper(),
        path=path,
        title=spec.get("summary") or title or path,
        text=(f"{title}\n{rest}" if spec.get("summary") else rest).strip(),
        needs_key=needs_key,
        parameters=tuple(
            Field(
                path=parameter["name"],
                kind=f"{_kind(parameter.get('schema', {}))}, {parameter['in']}",
                is_required=parameter.get("required", False),
                text=parameter.get("description", ""),
            )
            for parameter in spec.get("parameters", [])
        ),
        body=body,
        body_title="Fields in JSON" if media_type == "application/json" else "Form fields",
        answers=tuple(
            _answer(status, answer, operation=operation, path=path)
            for status, answer in sorted(spec.get("responses", {}).items())
        ),
        shown=_shown(operation, site_url=site_url),
        examples=_examples(
            path,
            method,
            operation=operation,
            site_url=site_url,
            key=key if needs_key else "",
            media_type=media_type,
            body=body,
            answer=_kind_of_answer(spec.get("responses", {})),
            required=tuple(
                parameter["name"]
                for parameter in spec.get("parameters", [])
                if parameter["in"] == "query" and parameter.get("required")
            ),
        ),
    )


def _kind_of_answer(responses: dict[str, Any]) -> AnswerKind:
    """Return how a program reads the answer of a request that succeeds."""
    contents = (spec.get("content", {}) for status, spec in sorted(responses.items()) if status.startswith("2"))
    content: dict[str, Any] = next(contents, {})
    if not content:
        return AnswerKind.NOTHING
    if "application/json" in content:
        return AnswerKind.JSON
    return AnswerKind.STREAM if "text/event-stream" in content else AnswerKind.TEXT


def _answer(status: str, spec: dict[str, Any], *, operation: str, path: str) -> Answer:
    content: dict[str, Any] = spec.get("content", {})
    schema = next(iter(content.values())).get("schema", {}) if content else {}
    text = spec.get("description") or _refusal(status, operation=operation, path=path)
    return Answer(status=str(status), text=text, fields=_fields(schema))


def _refusal(status: str, *, operation: str, path: str) -> str:
    """Return when an operation answers with an error of this status."""
    if status == "404" and (named := re.search(r"{(job|key|token|project)_id}", path)):
        text = f"Your organization has no such {named[1]}"
        return f"{text}, or its result was deleted" if "result" in path else text
    return REFUSALS_OF.get((operation, status)) or REFUSALS.get(status) or HTTPStatus(int(status)).phrase


# What the product answered, by operation.
SHOWN_ANSWERS = Path(__file__).with_name("shown_answers.json")


@lru_cache(maxsize=1)
def _shown_answers() -> dict[str, dict[str, Any]]:
    return json.loads(SHOWN_ANSWERS.read_text(encoding="utf-8"))  # type: ignore[no-any-return]  # JSON


def _shown(operation: str, *, site_url: str) -> ShownAnswer | None:
    answer = _shown_answers().get(operation)
    if answer is None:
        return None
    body = answer["body"]
    text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    return ShownAnswer(answer["status"], text.replace("SITE_URL", site_url))


# When a request is refused, by status, and where an operation has reasons of its own.
REFUSALS = {
    "400": "A field is missing, unknown or wrong, or the recording cannot be read",
    "401": "No API key, or an invalid one",
    "402": "The balance is too low, or a monthly limit is reached. The body contains the amounts",
    "403": "The key does not have the scope for this, or no owner has verified an email address",
    "404": "What the request names does not exist",
    "405": "The method is not POST",
    "408": "The body came too slowly",
    "409": "The Idempotency-Key was used for another request, or that request still runs",
    "413": "The recording or the body is too large",
    "429": "Too many requests. Wait for the seconds in Retry-After",
    "500": "An error on our side. Nothing was charged",
    "502": "The service behind this one failed. Nothing was charged",
    "503": "We are busy, or a part is not set up. Nothing was stored. Wait for the seconds in Retry-After",
    "504": "It took too long, and the work was canceled. Nothing was charged",
}
REFUSALS_OF = {
    ("cancel_job", "409"): "The job has ended",
    ("get_result", "409"): "The job has not ended, failed or has several results: say which with item",
    ("get_result_text", "409"): "The job has not ended, failed or has several results: say which with item",
    ("get_result_document", "409"): "The job has not ended, failed or has several results: say which with item",
    ("create_transcription", "404"): "Your organization has no such file",
    ("create_key", "409"): "Your organization has as many keys as it can have",
    ("create_token", "409"): "The key has as many live tokens as it can have",
    ("change_key", "409"): "The key is revoked",
    ("rotate_key", "409"): "The key is revoked, or was rotated a moment ago",
    ("set_limit", "409"): "The key is revoked",
    ("set_automatic_topup", "409"): "No card is saved. Pay once in the browser and save it",
    ("create_chat_completion", "400"): "A field is missing, unknown or wrong, or the model refuses the request",
    ("create_chat_completion", "408"): "The body came too slowly",
}


def _fields(schema: dict[str, Any], *, prefix: str = "", depth: int = 0) -> tuple[Field, ...]:
    """Return the fields of an object. The fields of a nested object follow it."""
    schema = _resolve(schema)
    if schema.get("type") == "array":
        schema, prefix = _resolve(schema.get("items", {})), f"{prefix}[]."
    found: list[Field] = []
    for name, spec in schema.get("properties", {}).items():
        inner = _resolve(spec)
        path = f"{prefix}{name}"
        found.append(Field(path, _kind(spec), name in schema.get("required", []), _text(spec, inner)))
        if depth < MAX_DEPTH and (inner.get("properties") or inner.get("type") == "array"):
            dot = "" if inner.get("type") == "array" else "."
            found += _fields(inner, prefix=f"{path}{dot}", depth=depth + 1)
    return tuple(found)


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference. drf-spectacular wraps some references to add a description."""
    if "$ref" in schema:
        return document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]  # JSON
    for wrapper in ("allOf", "oneOf", "anyOf"):
        if schema.get(wrapper):
            return _resolve(schema[wrapper][0])
    return schema


def _kind(schema: dict[str, Any]) -> str:
    inner = _resolve(schema)
    if "enum" in inner:
        return " | ".join(str(value) for value in inner["enum"])
    if inner.get("type") == "array":
        return f"list of {_kind(inner.get('items', {}))}"
    kind = inner.get("type", "any")
    kinds = [kind] if isinstance(kind, str) else [each for each in kind if each != "null"]
    name = {"binary": "file", "uuid": "UUID", "double": "number"}.get(
        inner.get("format", ""), kinds[0] if kinds else "any"
    )
    is_nullable = "null" in kind or {"type": "null"} in schema.get("anyOf", schema.get("oneOf", []))
    return f"{name} or null" if is_nullable else name


def _text(spec: dict[str, Any], inner: dict[str, Any]) -> str:
    parts = [str(spec.get("description") or inner.get("description") or "").strip()]
    if "default" in spec:
        parts.append(f"Default: {json.dumps(spec['default'])}.")
    if "minimum" in inner and "maximum" in inner:
        parts.append(f"From {inner['minimum']} to {inner['maximum']}.")
    return " ".join(part for part in parts if part)


# --- Examples --------------------------------------------------------------------------------------------------------

# What an operation is sent in JSON.
SAMPLE_BODIES: dict[str, dict[str, Any]] = {
    "create_chat_completion": {"model": "apex-latest", "messages": [{"role": "user", "content": "Hello"}]},
    "estimate": {"duration_seconds": 3600, "model": "standard"},
    "create_key": {"name": "nightly import", "scopes": ["transcribe"], "monthly_limit_micros": 5_000_000},
    "change_key": {"name": "weekly import"},
    "rotate_key": {"overlap_seconds": 3600},
    "create_token": {"scopes": ["transcribe"], "expires_in_seconds": 300, "spend_limit_micros": 50_000},
    "set_alerts": {"percents": [50, 80, 95]},
    "set_limit": {"monthly_limit_micros": 50_000_000},
    "set_automatic_topup": {"threshold_cents": 500, "amount_cents": 2000, "monthly_cap_cents": 10_000},
    "transcribeapi_add_funds": {"amount": 10, "if_balance_below": 5},
    "transcribeapi_create_job": {"type": "big_file", "filename": "recording.mp3", "size_bytes": 172_532},
    "transcribeapi_resume_upload": {"upload": {"type": "put"}},
    "transcribeapi_upload_urls": {"files": [{"file_id": "a"}]},
}
SAMPLE_VALUES = {
    "file": "recording.mp3",
    "audio_file": "recording.mp3",
    "model": "standard",
    "language": "en",
    "model_id": "vn-stt-basic",
    "sample_rate": "16000",
}
FILE_FIELDS = ("file", "audio_file")
# Of addresses; other parts are named in capitals, such as JOB_ID.
SAMPLE_PARTS = {"extension": "srt"}
# In examples for Node. Those for Python have raise_for_status().
THROWN = "if (!response.ok) throw new Error(await response.text());"


def _examples(
    path: str,
    method: str,
    *,
    operation: str,
    site_url: str,
    key: str,
    media_type: str,
    body: tuple[Field, ...],
    answer: AnswerKind,
    required: tuple[str, ...],
) -> tuple[tuple[str, str], ...]:
    """Return (language, code) for curl, Python and Node."""
    address = site_url + re.sub(r"{(\w+)}", lambda name: SAMPLE_PARTS.get(name[1], name[1].upper()), path)
    if media_type == "application/json":
        return _examples_in_json(address, method, key=key, sent=SAMPLE_BODIES[operation])
    if media_type == "application/octet-stream":
        return _examples_of_bytes(address, key=key, query={name: SAMPLE_VALUES[name] for name in required})
    sent = (
        {field.path: SAMPLE_VALUES[field.path] for field in body if field.path in SAMPLE_VALUES} if media_type else {}
    )
    return (
        ("curl", _curl(address, method, key=key, sent=sent, answer=answer)),
        ("Python", _python(address, method, key=key, sent=sent, answer=answer)),
        ("Node", _node(address, method, key=key, sent=sent, answer=answer)),
    )


def _examples_in_json(address: str, method: str, *, key: str, sent: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    body = json.dumps(sent)
    verb = "" if method == "post" else f"-X {method.upper()} "
    lines = (f"curl {verb}{address}", f'-H "X-API-Key: {key}"', '-H "Content-Type: application/json"', f"-d '{body}'")
    curl = " \\\n  ".join(lines)
    python = (
        f'import requests\n\nresponse = requests.{method}(\n    "{address}",\n    headers={{"X-API-Key": "{key}"}},\n'
        f"    json={body},\n)\nresponse.raise_for_status()\nprint(response.json())"
    )
    node = (
        f'const response = await fetch("{address}", {{\n  method: "{method.upper()}",\n'
        f'  headers: {{ "X-API-Key": "{key}", "Content-Type": "application/json" }},\n'
        f"  body: JSON.stringify({body}),\n}});\n{THROWN}\nconsole.log(await response.json());"
    )
    return ("curl", curl), ("Python", python), ("Node", node)


def _examples_of_bytes(address: str, *, key: str, query: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return examples whose body is the recording."""
    full = f"{address}?{urlencode(query)}" if query else address
    headers = {"X-API-Key": key, "Content-Type": "audio/mpeg"}
    curl = [f'curl -X POST "{full}"', *(f'-H "{name}: {value}"' for name, value in headers.items())]
    python = (
        f'import requests\n\nwith open("recording.mp3", "rb") as file:\n    response = requests.post(\n'
        f'        "{full}",\n        headers={json.dumps(headers)},\n        data=file,\n    )\n'
        "response.raise_for_status()\nprint(response.json())"
    )
    node = (
        f'import {{ openAsBlob }} from "node:fs";\n\nconst response = await fetch("{full}", {{\n  method: "POST",\n'
        f'  headers: {json.dumps(headers)},\n  body: await openAsBlob("recording.mp3"),\n}});\n'
        f"{THROWN}\nconsole.log(await response.json());"
    )
    lines = [*curl, "--data-binary @recording.mp3"]
    return ("curl", " \\\n  ".join(lines)), ("Python", python), ("Node", node)


def _curl(address: str, method: str, *, key: str, sent: dict[str, str], answer: AnswerKind) -> str:
    # Without a buffer, so that events are shown when they come.
    address = f"-N {address}" if answer == AnswerKind.STREAM else address
    lines = [
        f"curl {address}"
        if method in {"get", "post"} and (sent or method == "get")
        else f"curl -X {method.upper()} {address}"
    ]
    if key:
        lines.append(f'-H "X-API-Key: {key}"')
    lines += [f'-F "{name}={"@" if name in FILE_FIELDS else ""}{value}"' for name, value in sent.items()]
    return " \\\n  ".join(lines)


def _python(address: str, method: str, *, key: str, sent: dict[str, str], answer: AnswerKind) -> str:
    arguments = [f'"{address}"']
    if key:
        arguments.append(f'headers={{"X-API-Key": "{key}"}}')
    arguments += [f'files={{"{name}": open("{sent[name]}", "rb")}}' for name in FILE_FIELDS if name in sent]
    data = {name: value for name, value in sent.items() if name not in FILE_FIELDS}
    if data:
        arguments.append(f"data={json.dumps(data)}")
    if answer == AnswerKind.STREAM:
        arguments.append("stream=True")
    call = f"requests.{method}(" + (
        f"\n    {(',' + chr(10) + '    ').join(arguments)},\n)" if len(arguments) > 1 else f"{arguments[0]})"
    )
    if answer == AnswerKind.STREAM:
        return (
            f"import json\nimport requests\n\nwith {call} as response:\n    response.raise_for_status()\n"
            '    for line in response.iter_lines():\n        if line.startswith(b"data:"):\n'
            "            print(json.loads(line[5:]))"
        )
    shown = {AnswerKind.JSON: "response.json()", AnswerKind.TEXT: "response.text"}.get(answer, "response.status_code")
    return f"import requests\n\nresponse = {call}\nresponse.raise_for_status()\nprint({shown})"


def _node(address: str, method: str, *, key: str, sent: dict[str, str], answer: AnswerKind) -> str:
    lines, options = [], []
    if method != "get":
        options.append(f'method: "{method.upper()}"')
    if key:
        options.append(f'headers: {{ "X-API-Key": "{key}" }}')
    if sent:
        lines += ['import { openAsBlob } from "node:fs";', "", "const body = new FormData();"]
        for name, value in sent.items():
            shown = f'await openAsBlob("{value}"), "{value}"' if name in FILE_FIELDS else f'"{value}"'
            lines.append(f'body.append("{name}", {shown});')
        options.append("body")
    inner = f", {{\n  {(',' + chr(10) + '  ').join(options)},\n}}" if options else ""
    shown = {
        AnswerKind.JSON: "console.log(await response.json());",
        AnswerKind.TEXT: "console.log(await response.text());",
        AnswerKind.STREAM: (
            "for await (const text of response.body.pipeThrough(new TextDecoderStream())) {\n  console.log(text);\n}"
        ),
        AnswerKind.NOTHING: "console.log(response.status);",
    }[answer]
    return "\n".join([*lines, f'const response = await fetch("{address}"{inner});', THROWN, shown])
