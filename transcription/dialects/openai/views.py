"""The addresses of OpenAI's audio API: authenticate (the gate), read (wire), one call that waits, show (answers)."""

import io
import threading
from dataclasses import replace
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import BadRequest, MissingField, TooLarge, VoxsiteError
from accounts.gate.views import GateView, UnknownAddress
from transcription import recognition
from transcription.dialects import steps, waiting
from transcription.dialects.openai import answers, schema, wire
from transcription.dialects.openai.wire import Asked
from transcription.jobs.events import Event
from transcription.models import Job
from transcription.recordings import raw_uploads
from transcription.speech import formats, scripts
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Transcript

DIALECT = "openai"
# A body of 36 MiB takes up to 180 MB while it is parsed, so these take turns.
JSON_BODIES = threading.BoundedSemaphore(2)
# OpenAI's subtitles name no speakers.
SUBTITLES = FormatOptions(speaker_labels=False)


class OpenAiGateView(GateView):
    """A view whose errors are OpenAI's."""

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return wire.show_error(error, request_id=request_id)


class OpenAiUnknownAddress(OpenAiGateView, UnknownAddress):
    """The catch-all under `/v1/audio`."""


class _AudioView(waiting.WaitingGateView, OpenAiGateView):
    """What transcriptions and translations have in common."""

    parser_classes = [MultiPartParser, JSONParser, FormParser]

    def respond(self, request: Request, *, is_translation: bool) -> HttpResponseBase:
        """Return the response to a form with a file, or to a JSON body with `input_audio`."""
        fields, upload, has_cost = _read(request)
        url = "" if upload is not None else wire.read_url(fields)
        asked = wire.read_asked(fields, capabilities_of=recognition.capabilities_of, is_translation=is_translation)
        asked = replace(asked, has_cost=has_cost)
        submission = steps.submission_of(self.caller, model=asked.model, options=asked.options, dialect=DIALECT)
        if asked.is_stream:
            return self.stream_while_running(submission, upload=upload, url=url, asked=fields, stream=_Stream(asked))
        return self.answer_when_done(
            submission,
            upload=upload,
            url=url,
            asked=fields,
            show=lambda job, transcript: _show(job, transcript, asked=asked),
        )


class TranscriptionsView(_AudioView):
    """A transcript in the language that is spoken."""

    @extend_schema(operation_id="openai_create_transcription", **schema.TRANSCRIPTION)
    def post(self, request: Request) -> HttpResponseBase:
        """OpenAI's `audio.transcriptions.create`, for its packages and everything that speaks like them.

        The call is answered when the transcript is ready. With `stream`, events come while it is made; text that was
        sent is paid, also if you leave then.
        """
        return self.respond(request, is_translation=False)


class TranslationsView(_AudioView):
    """A transcript in English, whatever is spoken."""

    @extend_schema(operation_id="openai_create_translation", **schema.TRANSLATION)
    def post(self, request: Request) -> HttpResponseBase:
        """OpenAI's `audio.translations.create`. It has the fields of transcriptions; `language` is ignored."""
        return self.respond(request, is_translation=True)


def _read(request: Request) -> tuple[dict[str, list[str]], "UploadedFile[Any] | None", bool]:
    """Return the fields, the recording, and whether the answer states its cost, as that of a JSON body does.

    The recording is None if the fields name its address instead. Raises MissingField without either.
    """
    if request.content_type.partition(";")[0].strip().lower() == "application/json":
        return *_read_json(request), True
    fields = wire.read_form(request.POST.lists())
    upload = _file(request)
    if upload is not None:
        _refuse_large(upload.size or 0)
    elif not wire.read_url(fields):
        raise MissingField("file", "The field 'file' is required and must be a file. A 'url' may take its place.")
    return fields, upload, False


def _read_json(request: Request) -> tuple[dict[str, list[str]], "UploadedFile[Any] | None"]:
    """Return the fields and the recording of a JSON body. The recording goes to the disk, and the body is let go."""
    with JSON_BODIES:
        try:
            body: Any = request.data
            fields = wire.read_json(body)
        except RecursionError as error:
            raise BadRequest("The JSON body is nested too deeply.") from error
        if body.get("input_audio") is None and wire.read_url(fields):
            return fields, None
        content, name = wire.read_input_audio(body)
        _refuse_large(len(content))
        upload = raw_uploads.received(io.BytesIO(content), name=name)
        body.clear()
    return fields, upload


def _file(request: Request) -> "UploadedFile[Any] | None":
    """Return the recording of a form, None without one. Its part may have any name; of several, `file` counts."""
    sent = [name for name in request.FILES if name not in ("file", "audio_file")]
    for name in ("file", "audio_file", *sent):
        if name in request.FILES:
            return steps.one_file(request.FILES, name=name)
    return None


def _refuse_large(size_bytes: int) -> None:
    if size_bytes > wire.MAX_FILE_BYTES:
        raise TooLarge(f"The file is larger than {wire.MAX_FILE_BYTES // 1024**2} MiB.", param="file")


def _show(job: Job, transcript: Transcript, *, asked: Asked) -> HttpResponseBase:
    if asked.format == "text":
        return HttpResponse(transcript.text, content_type="text/plain; charset=utf-8")
    if asked.format in ("srt", "vtt"):
        content_type = "text/vtt" if asked.format == "vtt" else "text/plain"
        content = formats.FORMATS[asked.format].render(transcript, options=SUBTITLES)
        return HttpResponse(content, content_type=f"{content_type}; charset=utf-8")
    return Response(
        answers.show(transcript, asked=asked, job_id=str(job.pk), cost_micros=job.cost_micros or 0),
    )


class _Stream:
    """An `EventShow` of deltas. A second attempt does not repeat the text that the first one has sent."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        # The text of this attempt, and what was shown of it or of an attempt before.
        self._text = ""
        self._shown = ""

    def event(self, event: Event) -> bytes:
        if event.name == "started":
            self._text = ""
        if event.name != "segment" or not event.data["text"]:
            return b""
        text = event.data["text"]
        blank = " " if self._text and scripts.needs_blank(self._text, text) else ""
        self._text += blank + text
        delta = answers.remaining(self._text, shown=self._shown)
        if not delta:
            return b""
        self._shown += delta
        return answers.event(answers.DELTA, {"delta": delta})

    def end(self, job: Job, transcript: Transcript) -> list[bytes]:
        cost_micros = job.cost_micros or 0
        last = answers.end_events(
            transcript, shown=self._shown, asked=self._asked, job_id=str(job.pk), cost_micros=cost_micros
        )
        return list(last)

    def failure(self, error: VoxsiteError, *, request_id: str) -> bytes:
        return answers.error_event(wire.show_error(error, request_id=request_id))
