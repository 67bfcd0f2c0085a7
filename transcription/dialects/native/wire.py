"""The native wire format: pure translation between its fields and ours. Source: VoxParse's published API."""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from accounts.errors import BadMedia, InvalidField, MissingField
from accounts.gate.times import show_time
from transcription.dialects.native import job_fields, values
from transcription.speech import language_tags
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.engines import whisper_languages
from transcription.speech.errors import OptionError
from transcription.speech.formats import FORMATS
from transcription.speech.formats import json as json_format
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.formats.options import NAMES as OPTION_NAMES
from transcription.speech.options import (
    MAX_HOTWORD_LENGTH,
    MAX_HOTWORDS,
    MAX_PROMPT_LENGTH,
    MAX_SPEAKERS,
    TranscriptionOptions,
)
from transcription.speech.transcript import Transcript
from transcription.webhooks import payloads

if TYPE_CHECKING:
    # For annotations only. At run time this module imports no Django models.
    from transcription.models import Delivery, Job, Media, Upload

# A refusal lists no more codes than this.
MAX_LISTED_LANGUAGES = 10

# Field of POST /v1/transcribe -> what we do with it. All others are refused by name.
FIELDS: dict[str, str] = {
    "file": "supported",
    "file_id": "supported",
    "url": "supported",
    "files": "supported: in JSON only, see `batch`",
    "model": "supported",
    "language": "supported",
    "languages": "supported",
    "task": "supported",
    "prompt": "accepted: used by engines that take a prompt; the result's notes say when it was not",
    "hotwords": "accepted: as the prompt",
    "word_timestamps": "supported",
    "channels": "supported",
    "mixed_languages": "supported",
    "accept_truncated": "supported",
    "diarize": "supported",
    "num_speakers": "supported",
    "min_speakers": "supported",
    "max_speakers": "supported",
    "metadata": "supported",
    "retention": "supported",
    "webhook_url": "supported",
    "webhook_auth_header_name": "supported",
    "webhook_auth_header_value": "supported",
}

# Our status -> the word on the wire. The seed knows queued, processing, completed and failed.
STATUS_WORDS: dict[str, str] = {
    "uploading": "queued",
    "verifying": "queued",
    "queued": "queued",
    "processing": "processing",
    "completed": "completed",
    "completed_with_errors": "completed",
    "failed": "failed",
    "canceled": "canceled",
}


# Field of POST /v1/upload -> the same.
UPLOAD_FIELDS: dict[str, str] = {"file": "supported", "url": "supported", "accept_truncated": "supported"}


def read_fields(lists: Iterable[tuple[str, list[Any]]]) -> dict[str, str]:
    """Return the text fields of a form by name. Of one sent several times the last counts; lists add up.

    Raises InvalidField for one that was sent as a file: to overlook a `retention` would keep what is to be deleted.
    """
    fields = {}
    for name, sent in lists:
        texts = [value for value in sent if isinstance(value, str)]
        if texts:
            fields[name] = ",".join(texts) if name in ("hotwords", "languages") else texts[-1]
        if name == "files":
            raise InvalidField(name, "files is for JSON bodies. A form has one file.")
        if not texts and sent and name != "file":
            raise InvalidField(name, f"{name} must be sent as a text and not as a file.")
    return fields


def read_options(
    fields: Mapping[str, str], *, offers: Mapping[str, ModelCapabilities]
) -> tuple[str, TranscriptionOptions]:
    """Return (model, options) from form fields; an empty value is as good as none.

    offers: what each model does. Raises InvalidField naming the field and what it may be.
    """
    model = fields.get("model", "") or "standard"
    if model not in offers:
        raise InvalidField("model", f"There is no model '{values.short(model)}'. Models: {', '.join(sorted(offers))}.")
    known = offers[model].languages
    language = fields.get("language", "").strip()
    code = None if language.lower() in ("", *language_tags.DETECT) else read_language("language", language, known=known)
    tags = [part for part in re.split(r"[,\s]+", fields.get("languages", "")) if part]
    candidates = tuple(dict.fromkeys(read_language("languages", tag, known=known) for tag in tags))
    task = values.choice(fields, "task", ("transcribe", "translate"))
    if task == "translate" and not offers[model].translates:
        able = sorted(name for name, offer in offers.items() if offer.translates)
        instead = f" Models that can: {', '.join(able)}." if able else ""
        raise InvalidField("task", f"The model '{model}' cannot translate.{instead}")
    prompt = values.text(fields, "prompt")
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise InvalidField("prompt", f"The prompt has {len(prompt)} characters; the maximum is {MAX_PROMPT_LENGTH}.")
    try:
        options = TranscriptionOptions(
            language=code,
            prompt=prompt,
            hotwords=_hotwords(fields),
            task="translate" if task == "translate" else "transcribe",
            diarize=values.flag(fields, "diarize", default=True),
            num_speakers=_speaker_count(fields, "num_speakers"),
            min_speakers=_speaker_count(fields, "min_speakers"),
            max_speakers=_speaker_count(fields, "max_speakers"),
            word_timestamps=values.flag(fields, "word_timestamps", default=True),
            channels="split" if values.choice(fields, "channels", ("mix", "split")) == "split" else "mix",
            mixed_languages=values.flag(fields, "mixed_languages", default=False),
            languages=candidates,
            accept_truncated=values.flag(fields, "accept_truncated", default=False),
        )
        options.refuse_contradictions()
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    return model, options


def with_advice(error: BadMedia) -> BadMedia:
    """Return the refusal of a recording. If a field of the request would let it in, the message names the field."""
    if error.type != "truncated_audio":
        return error
    return BadMedia(
        f"{error.message} Send accept_truncated=true to transcribe what is there.",
        error_type=error.type,
        param="file",
    )


def read_accept_truncated(fields: Mapping[str, str]) -> bool:
    """Return whether a file that is cut off is accepted."""
    return values.flag(fields, "accept_truncated", default=False)


def read_source(fields: Mapping[str, str], *, has_file: bool) -> tuple[str, str]:
    """Return (id of a file that was sent before, URL), both "" if this request has the file itself.

    Raises MissingField for none of the three, and InvalidField for several.
    """
    file_id, url = fields.get("file_id", "").strip(), fields.get("url", "").strip()
    named = [name for name, is_there in (("file", has_file), ("file_id", file_id), ("url", url)) if is_there]
    if not named:
        raise MissingField(
            "file",
            "Send the recording as 'file' of a multipart form, or the 'file_id' of a file that you uploaded, or its "
            "'url'.",
        )
    if len(named) > 1:
        raise InvalidField(named[-1], f"Send either {' or '.join(named)}.")
    return file_id, url


def read_url(fields: Mapping[str, str], *, has_file: bool) -> str:
    """Return the URL of a file, "" for none. Raises InvalidField if the file is there too."""
    return read_source(fields, has_file=has_file)[1] if fields.get("url", "").strip() else ""


def read_format(query: Mapping[str, str]) -> tuple[str, FormatOptions]:
    """Return (name of the format, its options) from the query of a result; an empty value is as good as none."""
    name = query.get("format", "") or "json"
    if name not in FORMATS:
        raise InvalidField("format", f"There is no such format. Formats: {', '.join(FORMATS)}.")
    for option in OPTION_NAMES:
        if query.get(option, "").strip() and option not in FORMATS[name].options:
            takers = ", ".join(one for one, shape in FORMATS.items() if option in shape.options)
            raise InvalidField(option, f"{option} is not an option of {name}. Formats that have it: {takers}.")
    try:
        options = FormatOptions(
            max_chars_per_line=values.whole(query, "max_chars_per_line", default=DEFAULT.max_chars_per_line, minimum=1),
            max_lines=values.whole(query, "max_lines", default=DEFAULT.max_lines, minimum=1),
            min_seconds=values.decimal(query, "min_seconds", default=DEFAULT.min_seconds),
            max_seconds=values.decimal(query, "max_seconds", default=DEFAULT.max_seconds),
            speaker_labels=values.flag(query, "speaker_labels", default=DEFAULT.speaker_labels),
        )
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    return name, options


def show_created(job: "Job") -> dict[str, Any]:
    """Return the answer to a submission."""
    return {
        "job_id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "model": job.model,
        "message": "Job queued for processing.",
    }


def show_file_of_url(upload: "Upload") -> dict[str, Any]:
    """Return a file that is fetched from a URL, as `show_file` does. Nothing is known of it yet."""
    return {
        "file_id": str(upload.id),
        "name": upload.name,
        "duration": None,
        "size": None,
        "format": None,
        "channels": None,
        "created_at": show_time(upload.created_at),
        "expires_at": show_time(upload.expires_at),
    }


def show_file(media: "Media") -> dict[str, Any]:
    """Return a file that was sent without a job."""
    assert media.orderable_until is not None, "the file was just made orderable"
    return {
        "file_id": str(media.id),
        "name": media.name,
        "duration": media.duration_ms / 1000,
        "size": media.size_bytes,
        "format": media.container,
        "channels": media.channels,
        "created_at": show_time(media.created_at),
        "expires_at": show_time(media.orderable_until),
    }


def show_status(job: "Job", *, transcript: Transcript | None) -> dict[str, Any]:
    """Return how far a job is, and its plain text once it has completed: VoxScriber's answer, with our error."""
    return {
        "job_id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "progress": job.progress,
        "transcript": None if transcript is None else transcript.text,
        "error": _error_of(job),
    }


def show_job(job: "Job", *, waits_for: str = "") -> dict[str, Any]:
    """Return one job in full. waits_for: a sentence on what all jobs wait for, "" for nothing but their turn."""
    shown = {**show_job_line(job), "progress": job.progress, "error": _error_of(job), **show_counters(job)}
    if waits_for and shown["status"] == "queued":
        shown["message"] = waits_for
    if job.is_completed:
        shown["result_url"] = f"/v1/jobs/{job.id}/result"
    return shown


def show_delivery(job: "Job", delivery: "Delivery | None") -> dict[str, Any]:
    """Return what became of the `webhook_url` of a job, as a field beside those of `show_job`. {} for a job without."""
    if not job.webhook_url:
        return {}
    if delivery is None:
        # Its log is deleted after a while, and with it what became of it.
        waiting = {"status": "pending", "attempts": 0, "last_status": None, "next_attempt_at": None}
        return {"webhook": None if job.is_final else {**waiting, "delivered_at": None}}
    return {
        "webhook": {
            "status": delivery.state,
            "attempts": delivery.attempt,
            "last_status": delivery.last_status,
            "next_attempt_at": show_time(delivery.next_attempt_at) if delivery.next_attempt_at else None,
            "delivered_at": show_time(delivery.delivered_at) if delivery.delivered_at else None,
        }
    }


def show_webhook(job: "Job", *, event: str, site_url: str) -> dict[str, Any]:
    """Return the body of a webhook about a job that has ended: the job in full, without its text."""
    assert job.finished_at is not None, "webhooks tell of the end"
    shown = show_job(job)
    if "result_url" in shown:
        # A receiver may serve several sites, and knows no base URL.
        shown["result_url"] = f"{site_url}{shown['result_url']}"
    return payloads.envelope(event=event, at=job.finished_at, organization_id=job.organization_id, data=shown)


def show_job_line(job: "Job") -> dict[str, Any]:
    """Return one job as it stands in the list. The cost is null until it is known, and 0 when nothing was charged."""
    cost_micros = job.cost_micros if job.cost_micros is not None else 0 if job.is_final else None
    return {
        "id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "type": "transcribe",
        "model": job.model,
        "duration_seconds": _seconds(job.duration_ms),
        "cost_cents": None if cost_micros is None else (cost_micros + 5_000) // 10_000,
        "cost_dollars": None if cost_micros is None else show_dollars(cost_micros),
        "created_at": show_time(job.created_at),
        "completed_at": show_time(job.finished_at) if job.finished_at else None,
        "metadata": job.metadata,
        "retention": job_fields.show_retention(job),
        "expires_at": show_time(job.delete_at) if job.delete_at else None,
    }


def show_event(name: str, data: dict[str, Any]) -> bytes:
    """Return one event of an SSE stream (WHATWG HTML, server-sent events)."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def show_counters(job: "Job") -> dict[str, int]:
    """Return how many recordings a job has, how many of them have not ended, and how many have failed."""
    return {"item_count": job.item_count, "items_left": job.items_left, "items_failed": job.items_failed}


def show_result(transcript: Transcript, *, job: "Job") -> dict[str, Any]:
    """Return the result document; its segments have no words when the job was not to give any."""
    return {
        "job_id": str(job.id),
        "model": job.model,
        **show_transcript(transcript, job=job),
        "metadata": job.metadata,
        "created_at": show_time(job.created_at),
    }


def show_transcript(transcript: Transcript, *, job: "Job") -> dict[str, Any]:
    """Return what was said; segments have no words when the job was not to give any."""
    document = json_format.document(transcript)
    if not job.options.get("word_timestamps", True):
        document["segments"] = [{**segment, "words": []} for segment in document["segments"]]
    return document


def show_models(
    offers: Mapping[str, ModelCapabilities], *, rates_micros: Mapping[str, int], diarizer: str | None
) -> dict[str, Any]:
    """Return the list of models in OpenAI's shape, whose package asks at this very address, with ours beside it.

    Source: OpenAI API reference, models/list, read 2026-11-20. rates_micros: micro-dollars per hour.
    """
    return {
        "object": "list",
        "data": [
            {
                "id": model,
                "object": "model",
                "created": 0,
                "owned_by": "voxsite",
                "engine": offer.engine,
                "tasks": ["transcribe", "translate"] if offer.translates else ["transcribe"],
                "language_count": len(offer.languages),
                "diarizer": diarizer,
                "price_per_hour_dollars": show_dollars(rates_micros[model]),
            }
            for model, offer in offers.items()
        ],
    }


def show_languages(offers: Mapping[str, ModelCapabilities], *, names: Mapping[str, str]) -> dict[str, Any]:
    """Return every language that can be asked for, by code, with the models that know it."""
    known = sorted(frozenset().union(*(offer.languages for offer in offers.values())))
    return {
        "languages": [
            {
                "code": code,
                "name": names.get(code, code),
                "models": [model for model, offer in offers.items() if code in offer.languages],
            }
            for code in known
        ]
    }


def _error_of(job: "Job") -> dict[str, str] | None:
    return {"type": job.error_type, "message": job.error_message} if job.error_type else None


def show_dollars(micros: int) -> str:
    return str(Decimal(micros).scaleb(-6).quantize(Decimal("0.000001")))


def _seconds(duration_ms: int) -> int | float:
    return duration_ms // 1000 if duration_ms % 1000 == 0 else duration_ms / 1000


def read_language(field: str, tag: str, *, known: frozenset[str]) -> str:
    """Return the code of a language tag. Raises InvalidField, naming the code that was probably meant."""
    code = language_tags.code_of(tag, known=known)
    if code is not None:
        return code
    meant = language_tags.suggestion(tag, known=known, names=whisper_languages.LANGUAGES)
    if meant is not None:
        raise InvalidField(field, f"Write the language '{values.short(tag)}' as its code '{meant}'.")
    codes = ", ".join(sorted(known))
    if len(known) > MAX_LISTED_LANGUAGES:
        codes = f"{len(known)}, such as {', '.join(sorted(known & {'en', 'es', 'de', 'zh'}))}; see GET /v1/languages"
    raise InvalidField(field, f"The language '{values.short(tag)}' is not supported. Languages: {codes}.")


def _hotwords(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the terms between commas or line breaks, each once."""
    parts = (part.strip() for part in re.split(r"[,\r\n]", values.text(fields, "hotwords")))
    terms = tuple(dict.fromkeys(part for part in parts if part))
    if len(terms) > MAX_HOTWORDS or any(len(term) > MAX_HOTWORD_LENGTH for term in terms):
        raise InvalidField(
            "hotwords", f"hotwords may be {MAX_HOTWORDS} terms of {MAX_HOTWORD_LENGTH} characters at most."
        )
    return terms


def _speaker_count(fields: Mapping[str, str], name: str) -> int | None:
    if not fields.get(name, "").strip():
        return None
    count = values.whole(fields, name, default=0, minimum=1)
    if count > MAX_SPEAKERS:
        raise InvalidField(name, f"{name} must be at most {MAX_SPEAKERS}.")
    return count
