"""Deepgram's address: authenticate (the gate), read (query), one call, show (wire)."""

import hashlib
import json
from dataclasses import replace
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpRequest, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import BadRequest, TooLarge, VoxsiteError
from accounts.gate.views import UnknownAddress
from transcription import faces, recognition
from transcription.dialects import steps, waiting
from transcription.dialects.deepgram import query, schema, wire
from transcription.models import Job
from transcription.recordings import raw_uploads
from transcription.speech.transcript import Transcript

DIALECT = "deepgram"
# What lists call a recording that comes without a name.
NAME = "recording"
MAX_JSON_BYTES = 64 * 1024


class DeepgramGateView(waiting.WaitingGateView):
    """A view whose errors have Deepgram's shape."""

    key_schemes = faces.DEEPGRAM.key_schemes

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return wire.show_error(error, request_id=request_id)


class DeepgramUnknownAddress(DeepgramGateView, UnknownAddress):
    """The catch-all under `/v1/listen`."""


class ListenView(DeepgramGateView):
    """Transcribe a recording while the caller waits."""

    # The body is the recording itself.
    parser_classes = []

    @extend_schema(
        operation_id="deepgram_listen",
        summary="Transcribe as Deepgram does",
        tags=["Deepgram"],
        parameters=[*schema.PARAMETERS, schema.IDEMPOTENCY_KEY],
        request={"application/octet-stream": OpenApiTypes.BINARY, "application/json": schema.UrlRequest},
        responses={
            200: schema.Answer,
            **schema.error_responses(400, 401, 402, 403, 408, 409, 413, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        """The body is the recording, in any format, or `{"url": "..."}` as JSON, from where we fetch it. The answer
        comes when it is transcribed.

        Parameters of Deepgram that have no effect here are named in `metadata.warnings`.
        """
        is_json = (request.content_type or "").partition(";")[0].strip().lower() == "application/json"
        url = wire.read_url(_json_of(request._request)) if is_json else ""
        asked_for = query.plain(request.query_params)
        offer = recognition.capabilities_of(query.model_of(asked_for))
        listen = query.read(asked_for, offer=offer)
        upload, sha256 = (None, "") if url else _received(request._request, listen=listen)
        request_id = self.request_id

        def show(job: Job, transcript: Transcript) -> Response:
            media = job.items.get().recording
            return Response(
                wire.show_answer(
                    transcript,
                    asked=listen,
                    request_id=request_id,
                    job_id=job.pk,
                    sha256=sha256 or media.sha256,
                    created_at=job.created_at,
                    channel_count=media.channels,
                )
            )

        submission = replace(
            steps.submission_of(self.caller, model=listen.model, options=listen.options, dialect=DIALECT),
            metadata=query.metadata_of(listen),
        )
        return self.answer_when_done(submission, upload=upload, url=url, asked=request.query_params, show=show)


class _Digested:
    """The body of a request, with the digest of what was read of it."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.digest = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        piece = self._request.read(size)
        self.digest.update(piece)
        return piece


def _received(request: HttpRequest, *, listen: query.Listen) -> tuple[TemporaryUploadedFile, str]:
    """Return the body as a file, and its SHA-256 in hexadecimal."""
    body = _Digested(request)
    if listen.sample_rate is None:
        upload = raw_uploads.received(body, name=NAME)
    else:
        upload = raw_uploads.received_audio(body, name=NAME, sample_rate=listen.sample_rate, channels=listen.channels)
    return upload, body.digest.hexdigest()


def _json_of(request: HttpRequest) -> Any:
    text = request.read(MAX_JSON_BYTES + 1)
    if len(text) > MAX_JSON_BYTES:
        raise TooLarge("The JSON body is too large.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        message = "Content-type was application/json, but we could not process the JSON payload."
        raise BadRequest(message) from error
