"""The reference part of /docs/, made from the OpenAPI document: parameters, fields and answers of each address."""

import json
import re
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
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
    answers: tuple[Answer, ...]
    examples: tuple[tuple[str, str], ...]


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
    return Operation(
        anchor=spec.get("operationId", f"{method}{path}").replace("/", "-"),
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
        answers=tuple(_answer(status, answer) for status, answer in sorted(spec.get("responses", {}).items())),
        examples=_examples(
            path,
            method,
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


def _answer(status: str, spec: dict[str, Any]) -> Answer:
    content: dict[str, Any] = spec.get("content", {})
    schema = next(iter(content.values())).get("schema", {}) if content else {}
    return Answer(
        status=str(status), text=spec.get("description") or HTTPStatus(int(status)).phrase, fields=_fields(schema)
    )


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

SAMPLE_CHAT = {"model": "apex-latest", "messages": [{"role": "user", "content": "Hello"}]}
SAMPLE_BODIES: dict[str, dict[str, Any]] = {"/v1/estimate": {"duration_seconds": 3600, "model": "standard"}}
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


def _examples(
    path: str,
    method: str,
    *,
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
        return _examples_in_json(address, key=key, sent=SAMPLE_BODIES.get(path, SAMPLE_CHAT))
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


def _examples_in_json(address: str, *, key: str, sent: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    body = json.dumps(sent)
    curl = f'curl {address} \\\n  -H "X-API-Key: {key}" \\\n  -H "Content-Type: application/json" \\\n  -d \'{body}\''
    python = (
        f'import requests\n\nanswer = requests.post(\n    "{address}",\n    headers={{"X-API-Key": "{key}"}},\n'
        f"    json={body},\n)\nanswer.raise_for_status()\nprint(answer.json())"
    )
    node = (
        f'const answer = await fetch("{address}", {{\n  method: "POST",\n'
        f'  headers: {{ "X-API-Key": "{key}", "Content-Type": "application/json" }},\n'
        f"  body: JSON.stringify({body}),\n}});\nconsole.log(await answer.json());"
    )
    return ("curl", curl), ("Python", python), ("Node", node)


def _examples_of_bytes(address: str, *, key: str, query: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return examples whose body is the recording."""
    full = f"{address}?{urlencode(query)}" if query else address
    headers = {"X-API-Key": key, "Content-Type": "audio/mpeg"}
    curl = [f'curl -X POST "{full}"', *(f'-H "{name}: {value}"' for name, value in headers.items())]
    python = (
        f'import requests\n\nwith open("recording.mp3", "rb") as file:\n    answer = requests.post(\n'
        f'        "{full}",\n        headers={json.dumps(headers)},\n        data=file,\n    )\n'
        "answer.raise_for_status()\nprint(answer.json())"
    )
    node = (
        f'import {{ openAsBlob }} from "node:fs";\n\nconst answer = await fetch("{full}", {{\n  method: "POST",\n'
        f'  headers: {json.dumps(headers)},\n  body: await openAsBlob("recording.mp3"),\n}});\n'
        "console.log(await answer.json());"
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
            f"import json\nimport requests\n\nwith {call} as answer:\n    answer.raise_for_status()\n"
            '    for line in answer.iter_lines():\n        if line.startswith(b"data:"):\n'
            "            print(json.loads(line[5:]))"
        )
    shown = {AnswerKind.JSON: "answer.json()", AnswerKind.TEXT: "answer.text"}.get(answer, "answer.status_code")
    return f"import requests\n\nanswer = {call}\nanswer.raise_for_status()\nprint({shown})"


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
        AnswerKind.JSON: "console.log(await answer.json());",
        AnswerKind.TEXT: "console.log(await answer.text());",
        AnswerKind.STREAM: (
            "for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {\n  console.log(text);\n}"
        ),
        AnswerKind.NOTHING: "console.log(answer.status);",
    }[answer]
    return "\n".join([*lines, f'const answer = await fetch("{address}"{inner});', shown])
