"""VoxNexus's address: authenticate (the gate), read (wire), one call, show (wire)."""

from dataclasses import replace
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import VoxsiteError, refuse_unknown
from accounts.gate.authentication import Caller
from accounts.gate.views import UnknownAddress
from transcription import recognition, rewriting
from transcription.dialects import json_parsing, steps, waiting
from transcription.dialects.voxnexus import schema, wire
from transcription.models import Job
from transcription.recordings import raw_uploads
from transcription.rewriting import Rewritten
from transcription.speech.transcript import Transcript

DIALECT = "voxnexus"
# What lists call a recording that comes without a name.
NAME = "recording"


class VoxNexusGateView(waiting.WaitingGateView):
    """A view whose errors have VoxNexus's shape."""

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return wire.show_error(error, request_id=request_id)


class VoxNexusUnknownAddress(VoxNexusGateView, UnknownAddress):
    """The catch-all under `/v1/stt`."""


class SpeechToTextView(VoxNexusGateView):
    """Transcribe a recording while the caller waits."""

    # The body is the recording itself.
    parser_classes = []

    @extend_schema(
        operation_id="voxnexus_speech_to_text",
        summary="Transcribe as VoxNexus does",
        tags=["VoxNexus"],
        parameters=schema.PARAMETERS,
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            200: schema.SpeechResult,
            **schema.error_responses(400, 401, 402, 403, 405, 408, 409, 413, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        """The body is the recording: any format, or signed 16-bit little-endian mono PCM at `sample_rate`.

        The answer comes when it is transcribed. `text` is the `transcript`, or what a language model made of it.
        """
        wire.require_audio(request.content_type or "")
        refuse_unknown(request.query_params, known=wire.PARAMETERS)
        asked = wire.read_query(request.query_params, offers=recognition.listed_capabilities())
        upload = raw_uploads.received_audio(request._request, name=NAME, sample_rate=asked.sample_rate)
        call = _Call(self.caller, asked, request_id=self.request_id)
        submission = replace(
            steps.submission_of(self.caller, model=asked.model, options=asked.options, dialect=DIALECT),
            metadata=json_parsing.read_metadata(request.query_params),
        )
        return self.answer_when_done(
            submission, upload=upload, asked=request.query_params, prepare=call.rewrite, show=call.show
        )


class _Call:
    """What of a call is needed once its job has ended."""

    def __init__(self, caller: Caller, asked: wire.SpeechRequest, *, request_id: str) -> None:
        self._caller = caller
        self._asked = asked
        self._request_id = request_id
        self._rewritten = Rewritten()

    async def rewrite(self, job: Job, transcript: Transcript) -> None:
        transform = self._asked.transform
        if transform is None:
            return
        self._rewritten = await rewriting.rewrite(
            self._caller.organization,
            text=transcript.text,
            instruction=transform.prompt,
            job=job,
            api_key=self._caller.api_key,
            model=transform.model,
            max_tokens=transform.max_tokens,
        )

    def show(self, job: Job, transcript: Transcript) -> Response:
        return Response(
            wire.show_result(
                transcript,
                request=self._asked,
                request_id=self._request_id,
                created_at=job.created_at,
                rewritten=self._rewritten.text,
                note=self._rewritten.note,
            )
        )
