"""A program that uses a client which openapi-python-client made of /openapi.json, as a customer would.

It runs in that client's own environment and prints, for each call, what was answered and what the client made of it.
"""

import base64
import io
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from client import AuthenticatedClient, Client, models
from client.api.billing import get_balance, get_usage, list_products
from client.api.chat import create_chat_completion, list_chat_models
from client.api.deepgram import (
    deepgram_get_project,
    deepgram_list_balances,
    deepgram_list_projects,
    deepgram_listen,
)
from client.api.health import health_ready_retrieve, health_retrieve, health_serving_retrieve
from client.api.open_ai_audio import openai_create_transcription, openai_create_translation
from client.api.transcribe_api import (
    transcribeapi_add_funds,
    transcribeapi_create_job,
    transcribeapi_get_job,
    transcribeapi_get_result,
    transcribeapi_resume_upload,
    transcribeapi_transcribe,
    transcribeapi_upload_completed,
    transcribeapi_upload_urls,
)
from client.api.transcription import (
    cancel_job,
    create_transcription,
    delete_job,
    get_job,
    get_result,
    get_result_document,
    get_result_text,
    get_status,
    list_jobs,
    list_languages,
    list_models,
    upload_file,
    watch_job,
)
from client.api.vox_nexus import voxnexus_speech_to_text
from client.api.whisper_asr import asr_detect_language, asr_transcribe
from client.types import File

base, key, recording = sys.argv[1:]
CONTENT = Path(recording).read_bytes()
customer = AuthenticatedClient(base_url=base, token=key, timeout=120)
stranger = AuthenticatedClient(base_url=base, token="vxp_live_no", timeout=120)
shown: dict[str, dict[str, Any]] = {}


def call(name: str, operation: Any, *words: Any, client: Any = customer, **fields: Any) -> Any:
    """Call an operation and note its answer under this name."""
    answer = operation.sync_detailed(*words, client=client, **fields)
    shown[name] = {
        "operation": operation.__name__.rpartition(".")[2],
        "status": int(answer.status_code),
        "type": answer.headers.get("content-type", "").partition(";")[0],
        "body": answer.content.decode(errors="replace"),
        "made": type(answer.parsed).__name__,
    }
    return answer.parsed


def file() -> File:
    return File(io.BytesIO(CONTENT), "recording.wav", "audio/wav")


def form(**fields: Any) -> Any:
    return models.OpenAiTranscriptionFormRequest(file=file(), **fields)


call("health", health_retrieve, client=Client(base_url=base))
call("ready", health_ready_retrieve, client=Client(base_url=base))
call("serving", health_serving_retrieve, client=Client(base_url=base))
call("products", list_products, client=Client(base_url=base))
call("models", list_models)
call("languages", list_languages)

stored = call("upload", upload_file, body=models.UploadRequestRequest(file=file()))
ordered = call(
    "order of a stored file",
    create_transcription,
    body=models.TranscribeJsonRequestRequest.from_dict({"file_id": str(stored.file_id), "metadata": {"case": "7"}}),
)
call("order of a file", create_transcription, body=models.TranscribeRequestRequest(file=file()))
job_id = str(ordered.job_id)
call("events", watch_job, job_id)
deadline = time.monotonic() + 120
while call("job", get_job, job_id).status.value != "completed":
    assert time.monotonic() < deadline, shown["job"]
    time.sleep(0.25)
call("status", get_status, job_id)
call("result", get_result, job_id)
for extension in models.GetResultTextExtension:
    call(f"result.{extension}", get_result_text, job_id, extension)
call("result.docx", get_result_document, job_id)
call("result of a stranger", get_result_text, job_id, models.GetResultTextExtension.SRT, client=stranger)
call("list", list_jobs, limit=2)
call("job that has ended", cancel_job, job_id)
call("job of a stranger", get_job, job_id, client=stranger)
call("unknown job", get_job, "no-such-job")
call("no file", create_transcription, body=models.TranscribeJsonRequestRequest.from_dict({"file_id": job_id}))
call("deleted", delete_job, job_id)
call("balance", get_balance)
call("usage by day", get_usage)
call("usage by model", get_usage, group_by="model")
call("usage by key", get_usage, group_by="key")

formats = models.ResponseFormatEnum
call("json", openai_create_transcription, body=form(model="whisper-1", include=[models.IncludeEnum.LOGPROBS]))
granularities = [models.TimestampGranularitiesEnum.SEGMENT, models.TimestampGranularitiesEnum.WORD]
call(
    "verbose_json",
    openai_create_transcription,
    body=form(model="whisper-1", response_format=formats.VERBOSE_JSON, timestamp_granularities=granularities),
)
call(
    "diarized_json",
    openai_create_transcription,
    body=form(model="gpt-4o-transcribe-diarize", response_format=formats.DIARIZED_JSON),
)
call(
    "json of a JSON body",
    openai_create_transcription,
    body=models.OpenAiTranscriptionJsonRequest.from_dict(
        {"model": "whisper-1", "input_audio": {"data": base64.b64encode(CONTENT).decode(), "format": "wav"}}
    ),
)
call("translation", openai_create_translation, body=form(model="whisper-1"))
call("no model", openai_create_transcription, body=form(model="gpt-9"))

call(
    "stt",
    voxnexus_speech_to_text,
    body=file(),
    model_id="vn-stt-basic",
    sample_rate=16000,
    enable_timestamps=True,
    enable_speaker_diarization=True,
)
call("stt without model", voxnexus_speech_to_text, body=file(), model_id="gpt-9", sample_rate=16000)
call(
    "listen", deepgram_listen, body=file(), model="nova-3", smart_format=True, diarize=True, utterances=True, tag=["a"]
)
call("listen without model", deepgram_listen, body=file(), model="gpt-9")
project_id = call("projects", deepgram_list_projects).projects[0].project_id
call("project", deepgram_get_project, str(project_id))
call("balances", deepgram_list_balances, str(project_id))
call("project of a stranger", deepgram_get_project, str(uuid.UUID(int=7)))
recorded = models.AsrRecordingRequest
call("asr", asr_transcribe, body=recorded(file()), output=models.AsrTranscribeOutput.JSON, word_timestamps=True)
call("asr without model", asr_transcribe, body=recorded(file()), model="gpt-9")
call("detected", asr_detect_language, body=recorded(file()))

small = models.TranscribeApiFormRequest
call("transcribe", transcribeapi_transcribe, body=small(file=file(), reference_id="call 7"))
bare = "vtt,segments,metadata,billing,detected_language"
call("transcribe to a text", transcribeapi_transcribe, body=small(file=file(), exclude=bare))
call(
    "transcribe to segments",
    transcribeapi_transcribe,
    body=small(file=file(), exclude=bare.replace("segments", "text")),
)
call("transcribe without model", transcribeapi_transcribe, body=small(file=file(), model="gpt-9"))
files = models.TranscribeApiFilesRequest.from_dict({"files": [{"reference_id": "a"}, {"reference_id": "b"}]})
batch = call("order of files", transcribeapi_transcribe, body=files)
page = models.TranscribeApiPageRequest.from_dict({"files": [{"file_id": "a"}]})
call("upload addresses", transcribeapi_upload_urls, str(batch.job_id), body=page)
big = call("order of a big file", transcribeapi_create_job, body=models.TranscribeApiOrderRequest(type_="big_file"))
resumed = models.TranscribeApiResumeRequest.from_dict({"upload": {"type": "put"}})
call("resumed upload", transcribeapi_resume_upload, str(big.job_id), body=resumed)
call("order that waits", transcribeapi_get_job, str(big.job_id))
call("no result yet", transcribeapi_get_result, str(big.job_id))
call("completed upload", transcribeapi_upload_completed, str(big.job_id))
call("funds without a card", transcribeapi_add_funds, body=models.TranscribeApiAddFundsRequest(amount=10))
enough = models.TranscribeApiAddFundsRequest(amount=10, if_balance_below=0)
call("funds that are not needed", transcribeapi_add_funds, body=enough)

call("chat models", list_chat_models)
message = {"role": "user", "content": "normal 5"}
call("chat", create_chat_completion, body=models.ChatRequest.from_dict({"model": "apex-latest", "messages": [message]}))
message = {"role": "user", "content": "tools"}
call(
    "tools", create_chat_completion, body=models.ChatRequest.from_dict({"model": "apex-latest", "messages": [message]})
)
turns = [
    {"role": "user", "content": [{"type": "text", "text": "Call it."}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
    {"role": "tool", "content": None, "tool_call_id": "1"},
    {"role": "user", "content": "recording deepseek.json"},
]
asked = {"model": "apex-latest", "messages": turns, "max_tokens": None, "stream": None, "temperature": None}
call("chat of every kind of turn", create_chat_completion, body=models.ChatRequest.from_dict(asked))
message = {"role": "user", "content": "no-usage 5"}
call(
    "chat without usage",
    create_chat_completion,
    body=models.ChatRequest.from_dict({"model": "apex-latest", "messages": [message]}),
)
call("no chat model", create_chat_completion, body=models.ChatRequest.from_dict({"model": "no", "messages": [message]}))
print(json.dumps(shown))
