"""The shapes of the native API for the OpenAPI document. Descriptions only: `wire` makes the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 255 characters. The same request with the same key within 24 hours gets the stored answer.",
)

TranscribeRequest = inline_serializer(
    "TranscribeRequest",
    {
        "file": serializers.FileField(help_text="Audio, or a video with sound: up to 2 GiB and 10 hours."),
        "model": serializers.ChoiceField(choices=["standard", "premium"], default="standard"),
        "language": serializers.CharField(required=False, help_text="ISO 639-1 code; found out when omitted."),
        "prompt": serializers.CharField(required=False, help_text="A hint about names and context."),
        "diarize": serializers.BooleanField(default=True, help_text="Tell speakers apart."),
        "num_speakers": serializers.IntegerField(required=False, min_value=1, max_value=20),
        "min_speakers": serializers.IntegerField(required=False, min_value=1, max_value=20),
        "max_speakers": serializers.IntegerField(required=False, min_value=1, max_value=20),
    },
)

Created = inline_serializer(
    "JobCreated",
    {
        "job_id": serializers.UUIDField(),
        "status": serializers.CharField(),
        "model": serializers.CharField(),
        "message": serializers.CharField(),
    },
)


def _job_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {
        "id": serializers.UUIDField(),
        "status": serializers.ChoiceField(choices=["queued", "processing", "completed", "failed", "canceled"]),
        "type": serializers.CharField(),
        "model": serializers.CharField(),
        "duration_seconds": serializers.FloatField(),
        "cost_cents": serializers.IntegerField(allow_null=True, help_text="Rounded half up; null until it is known."),
        "cost_dollars": serializers.CharField(allow_null=True, help_text="Exact, with six decimals."),
        "created_at": serializers.CharField(help_text="YYYY-MM-DD HH:MM:SS, UTC."),
        "completed_at": serializers.CharField(allow_null=True),
    }


JobLine = inline_serializer("JobLine", _job_fields())
JobList = inline_serializer(
    "JobList",
    {
        "jobs": inline_serializer("JobLine", _job_fields(), many=True),
        "limit": serializers.IntegerField(),
        "offset": serializers.IntegerField(),
    },
)
JobDetail = inline_serializer(
    "Job",
    {
        **_job_fields(),
        "progress": serializers.IntegerField(min_value=0, max_value=100),
        "error": inline_serializer(
            "JobError", {"type": serializers.CharField(), "message": serializers.CharField()}, allow_null=True
        ),
        "result_url": serializers.CharField(required=False, help_text="Only when completed."),
    },
)
Deleted = inline_serializer("Deleted", {"id": serializers.UUIDField(), "deleted": serializers.BooleanField()})
Result = inline_serializer(
    "Result",
    {
        "job_id": serializers.UUIDField(),
        "model": serializers.CharField(),
        "engine": serializers.CharField(),
        "language": serializers.CharField(allow_null=True),
        "language_probability": serializers.FloatField(allow_null=True),
        "duration_seconds": serializers.FloatField(),
        "text": serializers.CharField(),
        "segments": inline_serializer(
            "Segment",
            {
                "id": serializers.IntegerField(),
                "start": serializers.FloatField(help_text="Seconds."),
                "end": serializers.FloatField(),
                "speaker": serializers.CharField(allow_null=True),
                "text": serializers.CharField(),
                "words": inline_serializer(
                    "Word",
                    {
                        "word": serializers.CharField(),
                        "start": serializers.FloatField(),
                        "end": serializers.FloatField(),
                        "probability": serializers.FloatField(),
                        "speaker": serializers.CharField(allow_null=True),
                    },
                    many=True,
                ),
            },
            many=True,
        ),
        "speakers": inline_serializer(
            "Speaker",
            {"id": serializers.CharField(), "label": serializers.CharField(), "seconds": serializers.FloatField()},
            many=True,
        ),
        "notes": serializers.ListField(
            child=serializers.CharField(), help_text="What a reader of the result should know."
        ),
        "created_at": serializers.CharField(),
    },
)
