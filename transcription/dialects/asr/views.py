"""whisper-asr-webservice's addresses: authenticate (the gate), read (wire), one call, show (wire)."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import VoxsiteError
from accounts.gate.views import UnknownAddress
from transcription import faces, recognition
from transcription.dialects import open_calls, steps, waiting
from transcription.dialects.asr import schema, wire
from transcription.models import Job
from transcription.recordings import raw_uploads
from transcription.recordings.names import display_name
from transcription.speech.transcript import Transcript

DIALECT = "asr"
ERRORS = schema.error_responses(400, 401, 402, 403, 408, 409, 413, 429, 500, 503, 504)


class AsrGateView(waiting.WaitingGateView):
    """A view that takes a recording, and whose errors have the shape of FastAPI."""

    key_schemes = faces.ASR.key_schemes
    parser_classes = [MultiPartParser]

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return wire.show_error(error, request_id=request_id)

    def answer(
        self, request: Request, *, asked: wire.Asked, fields: Mapping[str, str], show: open_calls.Show
    ) -> HttpResponseBase:
        """Submit the recording of the request and return the response that comes when it is done."""
        files = request.FILES
        upload = steps.one_file(files, name="audio_file" if "audio_file" in files or "file" not in files else "file")
        if asked.is_pcm:
            upload = raw_uploads.received_audio(upload, name=upload.name or "", sample_rate=wire.PCM_SAMPLE_RATE)
        if asked.name:
            upload.name = display_name(asked.name)
        submission = steps.submission_of(self.caller, model=asked.model, options=asked.options, dialect=DIALECT)
        return self.answer_when_done(submission, upload=upload, asked=fields, show=show)


class AsrUnknownAddress(AsrGateView, UnknownAddress):
    """The catch-all behind `/asr` and `/detect-language`."""


class AsrView(AsrGateView):
    """Transcribe a recording while the caller waits."""

    @extend_schema(
        operation_id="asr_transcribe",
        summary="Transcribe as whisper-asr-webservice does",
        tags=["Whisper ASR"],
        parameters=[*schema.PARAMETERS, schema.IDEMPOTENCY_KEY],
        request={"multipart/form-data": schema.Recording},
        responses={(200, "application/json"): schema.Result, (200, "text/plain"): OpenApiTypes.STR, **ERRORS},
    )
    def post(self, request: Request) -> HttpResponseBase:
        """For Bazarr, Speakr and other programs with a Whisper of one's own. Unknown parameters are ignored."""
        fields = _fields(request)
        asked = wire.read(fields, offer=recognition.capabilities_of(wire.model_of(fields)))

        def show(job: Job, transcript: Transcript) -> HttpResponseBase:
            headers = wire.headers(transcript, asked=asked, name=job.name)
            if asked.output == "json":
                return Response(wire.show_result(transcript, asked=asked), headers=headers)
            shown = wire.render(transcript, asked=asked)
            return HttpResponse(shown, content_type="text/plain; charset=utf-8", headers=headers)

        return self.answer(request, asked=asked, fields=fields, show=show)


class DetectLanguageView(AsrGateView):
    """Tell the language of a recording."""

    @extend_schema(
        operation_id="asr_detect_language",
        summary="Detect the language of a recording",
        tags=["Whisper ASR"],
        parameters=[*schema.DETECTION_PARAMETERS, schema.IDEMPOTENCY_KEY],
        request={"multipart/form-data": schema.Recording},
        responses={200: schema.DetectedLanguage, **ERRORS},
    )
    def post(self, request: Request) -> HttpResponseBase:
        """It is decided on the first 30 s of speech, and costs as much as 30 s of the recording at most."""
        fields = _fields(request)
        asked = wire.read_detection(fields)
        # A name that has no price is refused before the recording is looked at.
        recognition.capabilities_of(asked.model)
        return self.answer(
            request,
            asked=asked,
            fields=fields,
            show=lambda _, transcript: Response(wire.show_language(transcript)),
        )


def _fields(request: Request) -> dict[str, str]:
    """Return the parameters of the query, and what fields of the form say beside them."""
    return {**request.POST.dict(), **request.query_params.dict()}
