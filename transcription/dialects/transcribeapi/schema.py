"""The shapes of TranscribeAPI's addresses for the OpenAPI document. Descriptions only: others make the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, inline_serializer
from rest_framework import serializers

from accounts.gate.views import data_fields
from transcription.dialects.transcribeapi import manifest, statuses, wire
from transcription.dialects.webhook_keys import WebhookKey

TAG = "TranscribeAPI"
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 255 characters. The same request with the same key within 24 hours gets the same answer.",
)
SIGNATURE = [
    OpenApiParameter("expires", OpenApiTypes.STR, description="As the address has it."),
    OpenApiParameter("signature", OpenApiTypes.STR, description="As the address has it."),
]
ERROR = inline_serializer(
    "TranscribeApiError",
    {
        "error": serializers.CharField(help_text="What is wrong."),
        "message": serializers.CharField(help_text="The same."),
        "code": serializers.CharField(help_text="Stable: check this in programs."),
        "type": serializers.CharField(help_text="Ours, also stable; it tells more faults apart."),
        "request_id": serializers.CharField(),
        "status": serializers.CharField(required=False, help_text="Of 409: how the job stands."),
        "job_status": serializers.CharField(required=False),
        "plan": serializers.CharField(required=False, help_text="Of 429: free or paid."),
        "max_requests": serializers.IntegerField(required=False, help_text="Of 429: how many a minute."),
        "max_bytes": serializers.IntegerField(required=False),
        "max_files": serializers.IntegerField(required=False),
        "max_duration_seconds": serializers.IntegerField(required=False),
        "duration_seconds": serializers.FloatField(required=False),
        **data_fields(),
    },
)


def error_responses(*codes: int) -> dict[int, Any]:
    """Return the error responses of an address, for its OpenAPI description."""
    return dict.fromkeys(codes, ERROR)


def _class(name: str, fields: dict[str, Any]) -> Any:
    """Return the class of a serializer. Two of one name would be two components of the document."""
    return type(inline_serializer(name, fields))


def _options() -> dict[str, Any]:
    return {
        "model": serializers.CharField(required=False, help_text=f"Default: {wire.DEFAULT_MODEL}."),
        "language": serializers.CharField(
            required=False, allow_blank=True, help_text="A code or tag; detected if omitted, or with auto."
        ),
        "task": serializers.ChoiceField(choices=wire.TASKS, required=False),
        "vad_filter": serializers.BooleanField(
            required=False, help_text="Accepted. Stretches without speech are left out in any case."
        ),
        "initial_prompt": serializers.CharField(
            required=False, allow_blank=True, help_text="Names and terms to expect."
        ),
        "vtt_granularity": serializers.ChoiceField(choices=wire.GRANULARITIES, required=False),
        "exclude": serializers.CharField(
            required=False,
            allow_blank=True,
            help_text="What to leave out: text, vtt, segments, metadata, billing, detected_language, between commas.",
        ),
        "reference_id": serializers.CharField(
            required=False, allow_blank=True, max_length=wire.MAX_REFERENCE_LENGTH, help_text="Yours; returned with it."
        ),
        "webhook_url": serializers.CharField(required=False, allow_blank=True, help_text="Called when the job ends."),
    }


FormRequest = inline_serializer(
    "TranscribeApiForm",
    {
        "file": serializers.FileField(required=False, help_text="Up to 30 MB and 10 minutes."),
        "url": serializers.CharField(required=False, allow_blank=True, help_text="In place of a file."),
        **_options(),
    },
)
_FILE: dict[str, Any] = {
    "reference_id": serializers.CharField(required=False, max_length=wire.MAX_REFERENCE_LENGTH),
    "filename": serializers.CharField(required=False, max_length=manifest.MAX_NAME_LENGTH),
    "size_bytes": serializers.IntegerField(required=False, min_value=1),
    "content_type": serializers.CharField(required=False, max_length=manifest.MAX_TYPE_LENGTH),
    "url": serializers.CharField(required=False, help_text="Where we fetch it; else you send it."),
    "language": serializers.CharField(required=False, help_text="Of this file alone."),
}


_File = _class("TranscribeApiFile", _FILE)

FilesRequest = inline_serializer("TranscribeApiFiles", {"files": _File(many=True), **_options()})
JobRequest = inline_serializer(
    "TranscribeApiOrder",
    {
        "type": serializers.CharField(help_text="big_file or batch."),
        "files": _File(many=True, required=False),
        "source": inline_serializer(
            "TranscribeApiSource",
            {"type": serializers.CharField(required=False, help_text="url."), "url": serializers.CharField()},
            required=False,
        ),
        "filename": serializers.CharField(required=False),
        "size_bytes": serializers.IntegerField(required=False, min_value=1),
        "content_type": serializers.CharField(required=False),
        "total_files": serializers.IntegerField(required=False, help_text="Checked, if it is sent."),
        "total_size_bytes": serializers.IntegerField(required=False, help_text="Checked, if it is sent."),
        **_options(),
    },
)
_UPLOAD: dict[str, Any] = {
    "type": serializers.CharField(help_text="put or multipart."),
    "key": serializers.CharField(),
    "url": serializers.CharField(required=False),
    "headers": serializers.DictField(child=serializers.CharField(), required=False),
    "upload_id": serializers.CharField(required=False),
    "part_size": serializers.IntegerField(required=False),
    "parts": inline_serializer(
        "TranscribeApiPart",
        {"part_number": serializers.IntegerField(), "url": serializers.CharField()},
        many=True,
        required=False,
    ),
    "complete_url": serializers.CharField(required=False),
    "abort_url": serializers.CharField(required=False),
}


_Upload = _class("TranscribeApiUpload", _UPLOAD)
_FileUpload = _class(
    "TranscribeApiFileUpload",
    {
        "reference_id": serializers.CharField(),
        "file_id": serializers.CharField(),
        "filename": serializers.CharField(),
        "upload": _Upload(required=False),
        "status": serializers.CharField(required=False, help_text="Of a file that has come already."),
    },
)


def _status() -> dict[str, Any]:
    return {
        "status": serializers.CharField(help_text="As TranscribeAPI's documentation has it."),
        "job_status": serializers.CharField(
            help_text=f"The same until the job ends, then {', '.join(statuses.FINAL)}."
        ),
    }


def _bill(**extra: Any) -> dict[str, Any]:
    return {
        "billed_seconds": serializers.IntegerField(**extra),
        "price_per_hour": serializers.FloatField(**extra, help_text="Dollars."),
        "cost": serializers.FloatField(**extra, help_text="Dollars."),
        "remaining_balance": serializers.FloatField(**extra, help_text="Dollars that can be spent now."),
    }


Created = inline_serializer(
    "TranscribeApiCreated",
    {
        "job_id": serializers.UUIDField(),
        **_status(),
        "type": serializers.CharField(),
        "model": serializers.CharField(),
        "total_files": serializers.IntegerField(),
        "billed_seconds": serializers.IntegerField(),
        "cost": serializers.FloatField(),
        "uploads": _FileUpload(many=True, required=False),
        "reference_id": serializers.CharField(required=False),
        "upload": _Upload(required=False),
    },
)
Job = inline_serializer(
    "TranscribeApiJob",
    {
        "job_id": serializers.UUIDField(),
        **_status(),
        "type": serializers.CharField(),
        "model": serializers.CharField(),
        "progress": serializers.IntegerField(help_text="0 to 100."),
        "total_files": serializers.IntegerField(),
        "completed_files": serializers.IntegerField(),
        "failed_files": serializers.IntegerField(),
        "billed_seconds": serializers.IntegerField(),
        "price_per_hour": serializers.FloatField(required=False),
        "cost": serializers.FloatField(),
        "remaining_balance": serializers.FloatField(required=False),
        "result_url": serializers.CharField(required=False),
        "expires_at": serializers.DateTimeField(required=False),
        "error": serializers.CharField(required=False, allow_blank=True),
        "error_type": serializers.CharField(required=False, allow_blank=True),
    },
)
_SEGMENT: dict[str, Any] = {
    "id": serializers.IntegerField(),
    "start_seconds": serializers.FloatField(),
    "end_seconds": serializers.FloatField(),
    "text": serializers.CharField(),
}


_Segment = _class("TranscribeApiSegment", _SEGMENT)


def _transcript() -> dict[str, Any]:
    return {
        "text": serializers.CharField(required=False, allow_blank=True),
        "vtt": serializers.CharField(required=False, allow_blank=True),
        "segments": _Segment(many=True, required=False),
        "detected_language": serializers.CharField(required=False, allow_null=True),
    }


Transcription = inline_serializer(
    "TranscribeApiTranscription",
    {
        "job_id": serializers.UUIDField(required=False),
        "status": serializers.CharField(required=False),
        "job_status": serializers.CharField(required=False),
        "reference_id": serializers.CharField(required=False),
        "model": serializers.CharField(required=False),
        "duration_seconds": serializers.FloatField(required=False),
        "notes": serializers.ListField(child=serializers.CharField(), required=False),
        **_bill(required=False),
        **_transcript(),
    },
)
BatchResult = inline_serializer(
    "TranscribeApiBatchResult",
    {
        "job_id": serializers.UUIDField(required=False),
        "status": serializers.CharField(required=False),
        "job_status": serializers.CharField(required=False),
        "model": serializers.CharField(required=False),
        "total_files": serializers.IntegerField(required=False),
        "completed_files": serializers.IntegerField(required=False),
        "failed_files": serializers.IntegerField(required=False),
        **_bill(required=False),
        "files": inline_serializer(
            "TranscribeApiFileResult",
            {
                "reference_id": serializers.CharField(allow_blank=True),
                "filename": serializers.CharField(),
                "status": serializers.CharField(),
                "error": serializers.CharField(required=False, allow_blank=True),
                "error_type": serializers.CharField(required=False, allow_blank=True),
                "billed_seconds": serializers.IntegerField(required=False),
                "cost": serializers.FloatField(required=False),
                **_transcript(),
            },
            many=True,
        ),
    },
)
# What `exclude` may leave alone, a text or the list of segments, stands in `voxsite.api_reference`.
Answer = PolymorphicProxySerializer(
    component_name="TranscribeApiAnswer",
    serializers=[Transcription],
    resource_type_field_name=None,
)
Result = PolymorphicProxySerializer(
    component_name="TranscribeApiResult", serializers=[Transcription, BatchResult], resource_type_field_name=None
)
UploadUrlsRequest = inline_serializer(
    "TranscribeApiPage",
    {
        "files": inline_serializer(
            "TranscribeApiPageFile",
            {
                "file_id": serializers.CharField(help_text="Or reference_id."),
                "filename": serializers.CharField(required=False, max_length=manifest.MAX_NAME_LENGTH),
                "size_bytes": serializers.IntegerField(required=False, min_value=1),
                "content_type": serializers.CharField(required=False, max_length=manifest.MAX_TYPE_LENGTH),
            },
            many=True,
        )
    },
)
UploadUrls = inline_serializer(
    "TranscribeApiUploadUrls", {"job_id": serializers.UUIDField(), "uploads": _FileUpload(many=True)}
)
ResumeRequest = inline_serializer(
    "TranscribeApiResume",
    {
        "upload": inline_serializer(
            "TranscribeApiResumedUpload",
            {
                "type": serializers.CharField(help_text="put or multipart."),
                "key": serializers.CharField(required=False, help_text="Of multipart, as the first answer had it."),
                "upload_id": serializers.CharField(required=False, help_text="The same."),
            },
        )
    },
)
Resumed = inline_serializer(
    "TranscribeApiResumed", {"job_id": serializers.UUIDField(), **_status(), "upload": _Upload()}
)
AddFundsRequest = inline_serializer(
    "TranscribeApiAddFunds",
    {
        "amount": serializers.IntegerField(min_value=5, max_value=100, help_text="Whole dollars."),
        "if_balance_below": serializers.FloatField(
            required=False, min_value=0, allow_null=True, help_text="Dollars: charge only if less can be spent."
        ),
    },
)
AddedFunds = inline_serializer(
    "TranscribeApiAddedFunds",
    {
        "status": serializers.CharField(help_text="completed, pending or not_needed."),
        "charged": serializers.BooleanField(),
        "already_charged": serializers.BooleanField(help_text="An earlier request did it."),
        "amount": serializers.FloatField(),
        "bonus": serializers.FloatField(),
        "remaining_balance": serializers.FloatField(),
    },
)


class TranscribeApiKey(WebhookKey):
    """One public key, with its name as the header has it."""

    key_id = serializers.CharField(help_text="As in X-TranscribeAPI-Key-Id.")
    algorithm = serializers.CharField(help_text="`ed25519`.")


Keys = inline_serializer("TranscribeApiKeys", {"keys": TranscribeApiKey(many=True)})

TRANSCRIBE: dict[str, Any] = {
    "summary": "Transcribe as TranscribeAPI does",
    "tags": [TAG],
    "request": {"multipart/form-data": FormRequest, "application/json": FilesRequest},
    "responses": {
        200: Answer,
        201: Created,
        202: Job,
        **error_responses(400, 401, 402, 403, 408, 409, 429, 500, 502, 503),
    },
    "parameters": [IDEMPOTENCY_KEY],
}
CREATE_JOB: dict[str, Any] = {
    "summary": "Create a job as TranscribeAPI does",
    "tags": [TAG],
    "request": JobRequest,
    "responses": {201: Created, **error_responses(400, 401, 402, 403, 408, 409, 429, 500, 503)},
    "parameters": [IDEMPOTENCY_KEY],
}
