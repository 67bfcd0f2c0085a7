"""Asks the running product for an answer of each operation, and writes what the reference of the docs shows.

Usage: python -m tests.whole.shown_answers WHISPER_MODEL > voxsite/shown_answers.json
Ids, times and secrets are those of a fresh product that ends with this program. Long lists are cut.
"""

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from tests import product
from tests.apex import scripted
from tests.whole.customer import Customer

RECORDING = Path(__file__).parent.parent / "fixtures/appointment.mp3"
SITE = "SITE_URL"
# Elements that are shown of a list; lists that are not named here are short.
SHOWN = {"words": 2, "segments": 1, "languages": 2, "utterances": 1, "paragraphs": 1, "sentences": 1, "data": 2}
LONG_TEXTS = ("text", "transcript", "vtt")
TEXT_LINES = 12
# Calls that only lead to others.
STEPS = ("batch", "cancelled")
SECONDS = 300
ALL_SCOPES = "from accounts.models import ApiKey, Scope; ApiKey.objects.update(scopes=' '.join(Scope))"


class Recorder:
    """Calls operations as a customer, and keeps what each was answered."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.shown: dict[str, dict[str, Any]] = {}

    def call(self, operation: str, method: str, path: str, *, recording: str = "", **request: Any) -> Any:
        """Call one. recording: the name of the form field that has the recording, "body" for the body itself."""
        content = RECORDING.read_bytes()
        if recording == "body":
            request["data"] = content
        elif recording:
            request["files"] = {recording: ("recording.mp3", content, "audio/mpeg")}
        headers = {**self.customer.headers, **request.pop("headers", {})}
        address = path if path.startswith("http") else f"{self.customer.address}{path}"
        response = requests.request(method, address, headers=headers, timeout=SECONDS, **request)
        assert response.status_code < 300, (operation, response.status_code, response.text)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        # Without the comments of a stream, which only keep it open.
        lines = [line for line in response.text.splitlines() if not line.startswith(":")]
        body = cut(response.json()) if is_json else "\n".join(lines[:TEXT_LINES]).strip()
        self.shown[operation] = {"status": response.status_code, "body": body}
        return response.json() if is_json else response.text


def cut(value: Any, *, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: cut(inner, name=key) for key, inner in value.items()}
    if isinstance(value, list):
        return [cut(each) for each in value[: SHOWN.get(name, len(value))]]
    return f"{value[:120]}..." if isinstance(value, str) and name in LONG_TEXTS and len(value) > 140 else value


def record_transcription(recorder: Recorder) -> None:
    call, wait = recorder.call, recorder.customer.wait
    waiting = call("cancelled", "POST", "/v1/transcribe", recording="file")["job_id"]
    call("cancel_job", "POST", f"/v1/jobs/{waiting}/cancel")
    call("delete_job", "DELETE", f"/v1/jobs/{waiting}")
    fields = {"metadata": '{"order": "A-1001"}'}
    job_id = call("create_transcription", "POST", "/v1/transcribe", recording="file", data=fields)["job_id"]
    call("watch_job", "GET", f"/v1/jobs/{job_id}/events")
    wait(job_id, seconds=SECONDS)
    call("get_job", "GET", f"/v1/jobs/{job_id}")
    call("get_status", "GET", f"/v1/status/{job_id}")
    call("list_items", "GET", f"/v1/jobs/{job_id}/items")
    call("list_jobs", "GET", "/v1/jobs?limit=1")
    call("get_result", "GET", f"/v1/jobs/{job_id}/result")
    call("get_result_text", "GET", f"/v1/jobs/{job_id}/result.srt")
    call("upload_file", "POST", "/v1/upload", recording="file")
    call("estimate", "POST", "/v1/estimate", json={"duration_seconds": 3600, "model": "standard"})
    call("list_models", "GET", "/v1/models")
    call("list_languages", "GET", "/v1/languages")
    call("list_webhook_keys", "GET", "/.well-known/webhook-keys.json")


def record_account(recorder: Recorder) -> None:
    call = recorder.call
    for operation, path in (
        ("get_balance", "/v1/balance"),
        ("get_usage", "/v1/usage"),
        ("get_automatic_topup", "/v1/automatic-topup"),
        ("list_products", "/billing/products"),
        ("health_retrieve", "/health"),
        ("health_ready_retrieve", "/health/ready"),
        ("health_serving_retrieve", "/health/serving"),
    ):
        call(operation, "GET", path)
    call("delete_automatic_topup", "DELETE", "/v1/automatic-topup")
    call("set_limit", "PUT", "/v1/limits", json={"monthly_limit_micros": 50_000_000})
    call("get_limits", "GET", "/v1/limits")
    call("set_alerts", "PUT", "/v1/alerts", json={"percents": [50, 80, 95]})
    call("get_alerts", "GET", "/v1/alerts")
    made = {"name": "nightly import", "scopes": ["transcribe"], "monthly_limit_micros": 5_000_000}
    key_id = call("create_key", "POST", "/v1/keys", json=made)["id"]
    call("list_keys", "GET", "/v1/keys")
    call("get_key", "GET", f"/v1/keys/{key_id}")
    call("change_key", "PATCH", f"/v1/keys/{key_id}", json={"name": "weekly import"})
    call("rotate_key", "POST", f"/v1/keys/{key_id}/rotate", json={"overlap_seconds": 3600})
    call("revoke_key", "DELETE", f"/v1/keys/{key_id}")
    made = {"scopes": ["transcribe"], "expires_in_seconds": 300, "spend_limit_micros": 50_000}
    token_id = call("create_token", "POST", "/v1/tokens", json=made)["id"]
    call("list_tokens", "GET", "/v1/tokens")
    call("get_token", "GET", f"/v1/tokens/{token_id}")
    call("revoke_token", "DELETE", f"/v1/tokens/{token_id}")


def record_faces(recorder: Recorder) -> None:
    call = recorder.call
    call(
        "openai_create_transcription", "POST", "/v1/audio/transcriptions", recording="file", data={"model": "whisper-1"}
    )
    call("openai_create_translation", "POST", "/v1/audio/translations", recording="file", data={"model": "whisper-1"})
    sound = {"headers": {"Content-Type": "audio/mpeg"}, "recording": "body"}
    call("deepgram_listen", "POST", "/v1/listen?model=nova-3&smart_format=true", **sound)
    project_id = call("deepgram_list_projects", "GET", "/v1/projects")["projects"][0]["project_id"]
    call("deepgram_get_project", "GET", f"/v1/projects/{project_id}")
    call("deepgram_list_balances", "GET", f"/v1/projects/{project_id}/balances")
    call("voxnexus_speech_to_text", "POST", "/v1/stt?model_id=vn-stt-basic&sample_rate=16000", **sound)
    call("asr_transcribe", "POST", "/asr?output=json", recording="audio_file")
    call("asr_detect_language", "POST", "/detect-language", recording="audio_file")
    call("list_chat_models", "GET", "/v1/apex/models")
    asked = {"model": "apex-latest", "messages": [{"role": "user", "content": "normal 8"}]}
    call("create_chat_completion", "POST", "/v1/apex/chat/completions", json=asked)
    # The scripted model counts words.
    message = recorder.shown["create_chat_completion"]["body"]["choices"][0]["message"]
    message["content"] = "Hello. How can I help you today?"


def record_transcribeapi(recorder: Recorder) -> None:
    call, at = recorder.call, "/transcribeapi/v1"
    call("transcribeapi_webhook_keys", "GET", "/transcribeapi/.well-known/transcribeapi-webhook-keys.json")
    recorder.shown["transcribeapi_webhook_keys_at_root"] = recorder.shown["transcribeapi_webhook_keys"]
    call("transcribeapi_transcribe", "POST", f"{at}/transcribe", recording="file")
    order = {"type": "big_file", "filename": "recording.mp3", "size_bytes": RECORDING.stat().st_size}
    job = call("transcribeapi_create_job", "POST", f"{at}/jobs", json=order)
    job_id = job["job_id"]
    resumed = call(
        "transcribeapi_resume_upload", "POST", f"{at}/jobs/{job_id}/resume-upload", json={"upload": {"type": "put"}}
    )
    put = json.dumps(resumed)
    address = re.search(r'"(http[^"]+)"', put)
    assert address is not None, put
    assert requests.put(address[1], data=RECORDING.read_bytes(), timeout=60).ok
    call("transcribeapi_upload_completed", "POST", f"{at}/transcribe/{job_id}/upload-completed")
    deadline = time.monotonic() + SECONDS
    while (state := call("transcribeapi_get_job", "GET", f"{at}/transcribe/{job_id}"))["job_status"] != "completed":
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    call("transcribeapi_get_result", "GET", f"{at}/transcribe/{job_id}/result")
    recorder.shown["transcribeapi_read_result"] = recorder.shown["transcribeapi_get_result"]
    files = {"files": [{"reference_id": "a"}, {"reference_id": "b"}]}
    batch = call("batch", "POST", f"{at}/transcribe", json=files)["job_id"]
    call("transcribeapi_upload_urls", "POST", f"{at}/jobs/{batch}/upload-urls", json={"files": [{"file_id": "a"}]})
    enough = {"amount": 10, "if_balance_below": 0}
    call("transcribeapi_add_funds", "POST", f"{at}/add-funds", json=enough)


def without_the_product(text: str, *, address: str) -> str:
    """Return the answers without what belongs to this product alone: its address, and all but the start of secrets."""
    text = text.replace(address, SITE)
    text = re.sub(r"(vxp_(?:live|temp)_\w{4})\w{8,}", r"\1...", text)
    return re.sub(r"(X-Amz-Signature=|signature=)[0-9a-f]{16,}", r"\1...", text)


def main(model: str) -> None:
    with tempfile.TemporaryDirectory() as made, scripted.running() as models:
        data = Path(made) / "data"
        data.mkdir()
        switches = {
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": model,
            "VOXSITE_WHISPER_PREMIUM": model,
            "APEX_UPSTREAM_BASE_URL": f"{models.address}/first",
        }
        with product.running_first(data, **switches) as site:
            recorder = Recorder(Customer(site, "ann@example.com", dollars="20"))
            site.manage("shell", "--no-imports", "-c", ALL_SCOPES)
            for record in (record_transcription, record_account, record_faces, record_transcribeapi):
                try:
                    record(recorder)
                except (AssertionError, KeyError) as error:
                    print(f"{record.__name__}: {error}", file=sys.stderr)
            for step in STEPS:
                recorder.shown.pop(step, None)
            text = json.dumps(dict(sorted(recorder.shown.items())), ensure_ascii=False, indent=1)
            print(without_the_product(text, address=site.address))


if __name__ == "__main__":
    os.environ.pop("DATABASE_URL", None)
    main(sys.argv[1])
