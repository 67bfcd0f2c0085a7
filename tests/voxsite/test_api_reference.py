"""The reference in the docs: every operation of the OpenAPI document, with its fields and with code to copy."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest
from django.test import Client
from jsonschema import Draft202012Validator

from voxsite import api_reference, doc_pages


def test_docs_describe_every_operation_of_the_openapi_document(db):
    document = json.loads(Client().get("/openapi.json").content)
    page = "".join(Client().get(each.path).content.decode() for each in doc_pages.PAGES)
    operations = [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert ("post", "/v1/transcribe") in operations
    for method, path in operations:
        assert f'<span class="verb">{method.upper()}</span> {path}' in page


def test_text_of_an_operation_has_its_paragraphs_and_code(operations):
    assert len(operations["POST", "/v1/transcribe"].paragraphs) == 3
    page = Client().get("/docs/native/").content.decode()
    assert "<p>Send the recording as <code>file</code> of a multipart form" in page
    assert "`" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)


def test_examples_handle_errors(operations):
    for operation in operations.values():
        code = dict(operation.examples)
        assert "response.raise_for_status()" in code["Python"], operation.anchor
        assert "if (!response.ok) throw" in code["Node"], operation.anchor


@pytest.mark.long
def test_threads_that_ask_first_get_one_document():
    kept = api_reference._make_document()
    api_reference._make_document.cache_clear()
    # Threads change places in the middle of the work, as on a machine with many cores.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            documents = list(pool.map(lambda _: api_reference.document(), range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert all(document is documents[0] for document in documents)
    assert json.dumps(documents[0], default=str) == json.dumps(kept, default=str)


@pytest.fixture
def operations(db):
    """Every operation, by (method, path)."""
    found = api_reference.operations(site_url="https://voxsite.example", key="vxp_live_abc...")
    return {(each.method, each.path): each for each in found}


def test_operations_that_create_something_come_first(operations):
    methods = [(method, path.startswith("/v1/")) for method, path in operations]
    assert methods[0] == ("POST", True)
    own = [is_api for _, is_api in methods]
    assert own == sorted(own, reverse=True)


def test_fields_of_nested_objects_are_listed_with_their_path(operations):
    chat = operations["POST", "/v1/apex/chat/completions"]
    sent = {field.path: field for field in chat.body}
    assert sent["model"].is_required
    assert not sent["temperature"].is_required
    assert sent["temperature"].kind == "number or null"
    assert sent["temperature"].text.endswith("From 0 to 2.")
    assert "Default: 4096." in sent["max_tokens"].text
    assert sent["messages[].role"].kind == "system | developer | user | assistant | tool | function"
    assert sent["stream_options.include_usage"].kind == "boolean"
    (answer,) = (answer for answer in chat.answers if answer.status == "402")
    assert {field.path: field.kind for field in answer.fields}["error.param"] == "string or null"


@pytest.mark.parametrize("language", ["curl", "Python", "Node"])
def test_code_has_the_address_and_the_key_only_where_one_is_needed(operations, language):
    for (method, path), operation in operations.items():
        code = dict(operation.examples)[language]
        assert f"https://voxsite.example{path.partition('{')[0]}" in code, (method, path)
        assert ("vxp_live_abc..." in code) == operation.needs_key, (method, path)
    assert not operations["GET", "/health"].needs_key
    assert operations["POST", "/v1/transcribe"].needs_key


def test_code_in_python_is_valid(operations):
    for operation in operations.values():
        compile(dict(operation.examples)["Python"], operation.path, "exec")


def test_code_reads_what_the_answer_is(operations):
    """Events come one after the other, a subtitle file is text, and what has no body is not read."""
    watch = dict(operations["GET", "/v1/jobs/{job_id}/events"].examples)
    assert "curl -N https://voxsite.example/v1/jobs/JOB_ID/events" in watch["curl"]
    assert "stream=True" in watch["Python"]
    assert "response.iter_lines()" in watch["Python"]
    assert "TextDecoderStream" in watch["Node"]
    text = dict(operations["GET", "/v1/jobs/{job_id}/result.{extension}"].examples)
    assert "/v1/jobs/JOB_ID/result.srt" in text["curl"]
    assert "print(response.text)" in text["Python"]
    assert "await response.text()" in text["Node"]
    for code in (watch, text):
        assert ".json()" not in code["Python"] + code["Node"]
    assert "print(response.json())" in dict(operations["GET", "/v1/jobs/{job_id}"].examples)["Python"]


def test_code_names_every_part_of_an_address(operations):
    for operation in operations.values():
        for code in dict(operation.examples).values():
            assert not re.search(r"voxsite\.example\S*[{}]", code), operation.path
    assert "/v1/keys/KEY_ID" in dict(operations["DELETE", "/v1/keys/{key_id}"].examples)["curl"]


def test_code_to_transcribe_sends_the_file(operations):
    code = dict(operations["POST", "/v1/transcribe"].examples)
    assert '-F "file=@recording.mp3"' in code["curl"]
    assert 'files={"file": open("recording.mp3", "rb")}' in code["Python"]
    assert 'openAsBlob("recording.mp3")' in code["Node"]


@pytest.mark.parametrize("path", ["/v1/stt", "/v1/listen"])
def test_code_for_a_bare_body_sends_the_recording(operations, path):
    code = dict(operations["POST", path].examples)
    assert "--data-binary @recording.mp3" in code["curl"]
    assert "data=file" in code["Python"]
    assert 'openAsBlob("recording.mp3")' in code["Node"]
    query = "?model_id=vn-stt-basic&sample_rate=16000" if path == "/v1/stt" else ""
    assert all(f'"https://voxsite.example{path}{query}"' in each for each in code.values())


def test_code_for_whisper_asr_names_its_file_field(operations):
    code = dict(operations["POST", "/asr"].examples)
    assert '-F "audio_file=@recording.mp3"' in code["curl"]
    assert 'files={"audio_file": open("recording.mp3", "rb")}' in code["Python"]
    assert 'body.append("audio_file", await openAsBlob("recording.mp3")' in code["Node"]


def test_code_to_chat_sends_json(operations):
    code = dict(operations["POST", "/v1/apex/chat/completions"].examples)
    body = code["curl"].partition("-d '")[2].removesuffix("'")
    assert json.loads(body)["model"] == "apex-latest"


def fits(document, schema, value):
    """Return what of a value does not fit a schema of the document."""
    validator = Draft202012Validator({"components": document["components"], **schema})
    return [f"{list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(value)]


def described():
    """Return the document, and of each operation its id and description."""
    document = json.loads(json.dumps(api_reference.document(), default=str))
    found = {spec["operationId"]: spec for methods in document["paths"].values() for spec in methods.values()}
    return document, found


def test_shown_answers_fit_the_document(db):
    """They were given by the product once (tests/whole/shown_answers.py). A change of an answer must change them."""
    document, specs = described()
    shown = api_reference._shown_answers()
    assert set(shown) <= set(specs)
    faults = {}
    for operation, answer in shown.items():
        content = specs[operation]["responses"][str(answer["status"])].get("content", {})
        if "application/json" in content and not isinstance(answer["body"], str):
            faults[operation] = fits(document, content["application/json"]["schema"], answer["body"])
    assert len(faults) > 50
    assert {operation: found for operation, found in faults.items() if found} == {}


def test_every_operation_shows_an_answer(operations):
    # A document of a word processor is no text, and the sandbox has no saved card.
    without = {each.anchor for each in operations.values() if each.shown is None}
    assert without == {"get_result_document", "set_automatic_topup"}
    assert "SITE_URL" not in "".join(each.shown.body for each in operations.values() if each.shown)


def test_examples_send_json_that_the_operation_takes(operations):
    document, specs = described()
    for operation, body in api_reference.SAMPLE_BODIES.items():
        schema = specs[operation]["requestBody"]["content"]["application/json"]["schema"]
        assert fits(document, schema, body) == [], operation
    code = dict(operations["PATCH", "/v1/keys/{key_id}"].examples)
    assert code["curl"].startswith("curl -X PATCH ")
    assert "requests.patch(" in code["Python"]
    assert 'method: "PATCH"' in code["Node"]


def test_refusals_say_when(operations):
    said = {answer.status: answer.text for answer in operations["GET", "/v1/jobs/{job_id}"].refusals}
    assert said["404"] == "Your organization has no such job"
    assert said["401"].startswith("No API key")
    bare = {phrase.phrase for phrase in HTTPStatus}
    assert not [each.path for each in operations.values() for answer in each.refusals if answer.text in bare]
