"""What other people's programs make of /openapi.json, against the running product.

schemathesis makes requests: none breaks the product, and all answers fit. openapi-python-client and openapi-typescript
make clients: without a warning, and real answers fit their types.

The Whisper is tiny and the recordings are short, so most time goes into the requests. API_CASES says how many random
ones each dialect gets, beside those at the limits of the described values.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import clients, product
from tests.apex import scripted
from tests.clients import Node
from tests.database import PROJECT_DIR
from tests.fixtures import tiny_whisper
from tests.product import Product
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(3600)]

CASES = int(os.environ.get("API_CASES", "40"))
SCHEMATHESIS = "schemathesis==4.32.5"
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
TYPESCRIPT_GENERATOR = ("openapi-typescript@7.13.0", "typescript@5.9.3")
HELLO = tiny_whisper.SAMPLES / "en-hello.wav"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# By the beginning of a path; everything else is native.
DIALECTS = {
    "openai": ("/v1/audio/",),
    "voxnexus": ("/v1/stt",),
    "deepgram": ("/v1/listen", "/v1/projects"),
    "asr": ("/asr", "/detect-language"),
    "transcribeapi": ("/transcribeapi/", "/.well-known/transcribeapi"),
    "apex": ("/v1/apex/",),
}
NO_LIMIT = "1000000/minute"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clients.python_with(tmp_path_factory.mktemp("schemathesis"), SCHEMATHESIS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    model = str(tiny_whisper.build(folder))
    with scripted.running() as upstream:
        switches = {
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": model,
            "VOXSITE_WHISPER_PREMIUM": model,
            "VOXSITE_WORKERS": "4",
            "VOXSITE_RATE_REQUESTS": NO_LIMIT,
            "VOXSITE_RATE_UPLOADS": NO_LIMIT,
            "VOXSITE_RATE_COMPLETIONS": NO_LIMIT,
            "VOXSITE_RATE_TRANSCRIBEAPI_FREE": NO_LIMIT,
            "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
        }
        with product.running(folder, **switches) as running:
            yield running


@pytest.fixture(scope="module")
def customer(site: Product) -> Customer:
    return Customer(site, "cases@example.com", dollars="1000")


@pytest.fixture(scope="module")
def known(customer: Customer) -> dict[str, list[str]]:
    """Return ids of jobs that have ended and of stored files, which no generator could guess."""
    recordings = [tiny_whisper.SAMPLES / name for name in ("en-hello.wav", "es-hola.wav", "silent.flac")]
    jobs = [customer.submit(path) for path in recordings]
    files = []
    for path in recordings:
        with path.open("rb") as file:
            stored = requests.post(
                f"{customer.address}/v1/upload", headers=customer.headers, files={"file": file}, timeout=30
            )
        files.append(str(stored.json()["file_id"]))
    customer.wait(*jobs, seconds=120)
    return {"jobs": jobs, "files": files}


def operations(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the operations of the document by their dialect."""
    found: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        dialect = next((name for name, prefixes in DIALECTS.items() if path.startswith(prefixes)), "native")
        found.setdefault(dialect, []).extend(operation["operationId"] for operation in methods.values())
    return found


@pytest.mark.parametrize("dialect", ["native", *DIALECTS])
def test_answers_are_as_described(
    customer: Customer, known: dict[str, list[str]], python: Path, tmp_path: Path, dialect: str
) -> None:
    address = f"{customer.address}/openapi.json"
    names = operations(requests.get(address, timeout=30).json())[dialect]
    command = [
        *(python, "-m", "schemathesis.cli", "run", address, "--no-color", "--warnings", "off"),
        *(word for name in names for word in ("--include-operation-id", name)),
        *("--header", f"X-API-Key: {customer.headers['X-API-Key']}", "--checks", ",".join(CHECKS)),
        *("--phases", "coverage,fuzzing", "--max-examples", str(math.ceil(CASES / len(names)))),
        # One: Python 3.11 may stumble when threads parse source text at the same time (CPython issue 106905).
        *("--workers", "1", "--request-timeout", "120", "--generation-database", "none"),
        *("--suppress-health-check", "all", "--continue-on-failure"),
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.whole.sensible_values", "PYTHONPATH": str(PROJECT_DIR)}
    environment = {**os.environ, **hooks, "KNOWN": json.dumps(known)}
    report = clients.ran(command, cwd=tmp_path, env=environment)
    (generated,) = re.findall(r"^ *(\d+) generated", report, re.MULTILINE)
    assert int(generated) >= CASES
    print(f"{dialect}: {generated} requests")


# Of each call of tests/whole/generated_client.py: the status, and the class that the client made of the answer.
MADE = {
    "health": (200, "Health"),
    "ready": (200, "Readiness"),
    "serving": (200, "Readiness"),
    "products": (200, "Products"),
    "models": (200, "ModelList"),
    "languages": (200, "LanguageList"),
    "upload": (201, "StoredFile"),
    "order of a stored file": (201, "JobCreated"),
    "order of a file": (201, "JobCreated"),
    "events": (200, "str"),
    "job": (200, "Job"),
    "status": (200, "JobStatus"),
    "result": (200, "Result"),
    "result.srt": (200, "str"),
    "result.tsv": (200, "str"),
    "result.txt": (200, "str"),
    "result.vtt": (200, "str"),
    "result.docx": (200, "File"),
    "result of a stranger": (401, "Error"),
    "list": (200, "JobList"),
    "job that has ended": (409, "Error"),
    "job of a stranger": (401, "Error"),
    "unknown job": (404, "Error"),
    "no file": (404, "Error"),
    "deleted": (200, "Deleted"),
    "balance": (200, "Balance"),
    "usage by day": (200, "Usage"),
    "usage by model": (200, "Usage"),
    "usage by key": (200, "Usage"),
    "json": (200, "OpenAiTranscription"),
    "verbose_json": (200, "OpenAiTranscriptionVerbose"),
    "diarized_json": (200, "OpenAiTranscriptionDiarized"),
    "json of a JSON body": (200, "OpenAiTranscription"),
    "translation": (200, "OpenAiTranscription"),
    "no model": (400, "OpenAiError"),
    "stt": (200, "SttResult"),
    "stt without model": (400, "SttError"),
    "listen": (200, "DeepgramAnswer"),
    "listen without model": (400, "DeepgramError"),
    "projects": (200, "DeepgramProjects"),
    "project": (200, "DeepgramProject"),
    "balances": (200, "DeepgramBalances"),
    "project of a stranger": (404, "DeepgramError"),
    "asr": (200, "AsrResult"),
    "asr without model": (400, "AsrError"),
    "detected": (200, "AsrDetectedLanguage"),
    "transcribe": (200, "TranscribeApiTranscription"),
    "transcribe to a text": (200, "str"),
    "transcribe to segments": (200, "list"),
    "transcribe without model": (400, "TranscribeApiError"),
    "order of files": (201, "TranscribeApiCreated"),
    "upload addresses": (200, "TranscribeApiUploadUrls"),
    "order of a big file": (201, "TranscribeApiCreated"),
    "resumed upload": (200, "TranscribeApiResumed"),
    "order that waits": (200, "TranscribeApiJob"),
    "no result yet": (409, "TranscribeApiError"),
    "completed upload": (200, "TranscribeApiJob"),
    "funds without a card": (402, "TranscribeApiError"),
    "funds that are not needed": (200, "TranscribeApiAddedFunds"),
    "chat models": (200, "ChatModelList"),
    "chat": (200, "ChatCompletion"),
    "tools": (200, "ChatCompletion"),
    "chat of every kind of turn": (200, "ChatCompletion"),
    "chat without usage": (200, "ChatCompletion"),
    "no chat model": (400, "ChatError"),
}


@pytest.fixture(scope="module")
def document(customer: Customer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the document."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(requests.get(f"{customer.address}/openapi.json", timeout=30).content)
    return path


@pytest.fixture(scope="module")
def answers(customer: Customer, document: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what the product answered to the client that openapi-python-client made, and what it made of that."""
    folder = tmp_path_factory.mktemp("generated")
    python = clients.python_with(folder, PYTHON_GENERATOR)
    # It formats what it made with the Ruff beside it.
    environment = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    generate = [python.parent / "openapi-python-client", "generate", "--path", document, "--meta", "none"]
    report = clients.ran([*generate, "--output-path", "client", "--fail-on-warning"], cwd=folder, env=environment)
    assert report.splitlines() == ["Generating client"]
    shutil.copy(Path(__file__).with_name("generated_client.py"), folder)
    key = customer.headers["X-API-Key"]
    printed = clients.ran([python, "generated_client.py", customer.address, key, HELLO], cwd=folder)
    return dict(json.loads(printed.splitlines()[-1]))


def test_generated_python_client_reads_every_answer(answers: dict[str, dict[str, Any]]) -> None:
    assert {name: (answer["status"], answer["made"]) for name, answer in answers.items()} == MADE


def test_generated_types_fit_every_answer(answers: dict[str, dict[str, Any]], document: Path, node: Node) -> None:
    """TypeScript takes each answer as a literal of its type: no field may be missing, wrong or undescribed."""
    folder = document.parent
    node.install(folder, *TYPESCRIPT_GENERATOR)
    report = clients.ran(["npx", "openapi-typescript", document, "-o", "api.d.ts"], cwd=folder, env=node.environment)
    assert "warn" not in report.lower()
    lines = ['import type { operations } from "./api";']
    for number, answer in enumerate(answers.values()):
        kind = f'operations["{answer["operation"]}"]["responses"][{answer["status"]}]["content"]["{answer["type"]}"]'
        body = answer["body"] if answer["type"] == "application/json" else json.dumps(answer["body"])
        lines.append(f"export const answer{number}: {kind} = {body};")
    (folder / "answers.ts").write_text("\n".join(lines))
    clients.ran(["npx", "tsc", "--noEmit", "--strict", "answers.ts"], cwd=folder, env=node.environment)
