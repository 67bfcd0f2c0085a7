"""The shapes of the native API for the OpenAPI document. Descriptions only: `wire` makes the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from transcription.dialects.native.answers import STATUS_WORDS
from transcription.speech.formats.options import BOUNDS, DEFAULT

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 255 characters. The same request with the same key within 24 hours gets the stored response.",
)

_BOUNDS = {name: f"{minimum} to {maximum}" for name, (minimum, maximum) in BOUNDS.items()}
FORMAT_OPTIONS = [
    OpenApiParameter(
        "max_chars_per_line",
        OpenApiTypes.INT,
        description=f"srt, vtt: width of a line, {_BOUNDS['max_chars_per_line']} "
        f"(default {DEFAULT.max_chars_per_line}). A Chinese, Japanese or Korean character counts as two.",
    ),
    OpenApiParameter(
        "max_lines",
        OpenApiTypes.INT,
        description=f"srt, vtt: lines of a subtitle, {_BOUNDS['max_lines']} (default {DEFAULT.max_lines}).",
    ),
    OpenApiParameter(
        "min_seconds",
        OpenApiTypes.NUMBER,
        description=f"srt, vtt: how long a subtitle is shown at least, {_BOUNDS['min_seconds']} "
        f"(default {DEFAULT.min_seconds:g}), unless the next one begins before.",
    ),
    OpenApiParameter(
        "max_seconds",
        OpenApiTypes.NUMBER,
        description=f"srt, vtt: how long a subtitle is shown at most, {_BOUNDS['max_seconds']} "
        f"(default {DEFAULT.max_seconds:g}).",
    ),
    OpenApiParameter(
        "speaker_labels",
        OpenApiTypes.BOOL,
        description="srt, vtt, txt, docx: write the names of speakers (default true).",
    ),
    OpenApiParameter(
        "timestamps",
        OpenApiTypes.BOOL,
        description="txt, docx: write when each paragraph begins (default true for docx, false for txt).",
    ),
]

# A limit above its maximum is cut to it, so the maximum is no part of the type.
FROM_1 = {"type": "integer", "minimum": 1}
FROM_0 = {"type": "integer", "minimum": 0}
LIST_PARAMETERS = [
    OpenApiParameter("limit", FROM_1, description="Results per page, 1 to 100 (default 20). More is cut to 100."),
    OpenApiParameter("offset", FROM_0, description="Results to skip (default 0). Not with cursor."),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="next_cursor of the page before."),
    OpenApiParameter(
        "status",
        OpenApiTypes.STR,
        enum=list(dict.fromkeys(STATUS_WORDS.values())),
        description="Only jobs in this status.",
    ),
    OpenApiParameter(
        "created_after",
        OpenApiTypes.STR,
        description="Only jobs of this time (UTC, such as 2026-04-19 19:13:18) or later.",
    ),
    OpenApiParameter("created_before", OpenApiTypes.STR, description="Only jobs before this time."),
    OpenApiParameter(
        "q",
        OpenApiTypes.STR,
        description="Only jobs with all of these words in their transcript or file name. Words in quotation marks must "
        "follow each other.",
    ),
]

ORIGINAL = OpenApiParameter(
    "original",
    OpenApiTypes.BOOL,
    description="The result as it was recognized, without corrections that people made on its page (default false).",
)
ITEM = OpenApiParameter("item", FROM_1, description="One recording of a batch, from 1 on.")
ITEM_PARAMETERS = [
    OpenApiParameter("limit", FROM_1, description="Items per page, 1 to 500 (default 100). More is cut to 500."),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="next_cursor of the page before."),
]

StoredFile = inline_serializer(
    "StoredFile",
    {
        "file_id": serializers.UUIDField(help_text="For POST /v1/transcribe."),
        "name": serializers.CharField(),
        "duration": serializers.FloatField(help_text="Seconds; null for a url.", allow_null=True),
        "size": serializers.IntegerField(help_text="Bytes; null for a url.", allow_null=True),
        "format": serializers.CharField(
            help_text="As it was found in the file, such as wav or mp3; null for a url.", allow_null=True
        ),
        "channels": serializers.IntegerField(help_text="null for a url.", allow_null=True),
        "created_at": serializers.CharField(help_text="YYYY-MM-DD HH:MM:SS, UTC."),
        "expires_at": serializers.CharField(help_text="Until then it can be transcribed by its id."),
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
        "cost_dollars": serializers.CharField(
            allow_null=True,
            help_text="Exact, with six decimals. A failed or canceled job costs only text that its events have shown.",
        ),
        "created_at": serializers.CharField(help_text="YYYY-MM-DD HH:MM:SS, UTC."),
        "completed_at": serializers.CharField(allow_null=True),
        "metadata": serializers.DictField(child=serializers.CharField(), help_text="As it was sent."),
        "retention": serializers.CharField(help_text="keep, delete_after_retrieval, or a number of days."),
        "expires_at": serializers.CharField(
            allow_null=True, help_text="When the job is deleted, with its recording and its result; null if never."
        ),
        "token_id": serializers.UUIDField(
            allow_null=True,
            help_text="The token that ordered it, by the id of POST /v1/tokens; null for keys and people.",
        ),
    }


JobLine = inline_serializer("JobLine", _job_fields())
JobList = inline_serializer(
    "JobList",
    {
        "jobs": inline_serializer("JobLine", _job_fields(), many=True),
        "limit": serializers.IntegerField(),
        "offset": serializers.IntegerField(),
        "next_cursor": serializers.CharField(allow_null=True, help_text="For the next page; null after the last job."),
    },
)


def _counter_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {
        "item_count": serializers.IntegerField(help_text="Recordings of the job; 1 unless it is a batch."),
        "items_left": serializers.IntegerField(help_text="Of these, those that have not ended."),
        "items_failed": serializers.IntegerField(help_text="Those that failed."),
    }


def _item_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {
        "item": serializers.IntegerField(help_text="Its number, from 1 on."),
        "reference": serializers.CharField(allow_null=True, help_text="As it was sent."),
        "name": serializers.CharField(),
        "status": serializers.ChoiceField(choices=["queued", "processing", "completed", "failed", "canceled"]),
        "progress": serializers.IntegerField(min_value=0, max_value=100),
        "language": serializers.CharField(allow_null=True),
        "duration_seconds": serializers.FloatField(allow_null=True, help_text="null until the file is known."),
        "cost_dollars": serializers.CharField(allow_null=True, help_text="With six decimals; null until it ended."),
        "error": inline_serializer(
            "ItemError", {"type": serializers.CharField(), "message": serializers.CharField()}, allow_null=True
        ),
        "result_url": serializers.CharField(allow_null=True, help_text="Only when completed."),
    }


ItemList = inline_serializer(
    "ItemList",
    {
        "job_id": serializers.UUIDField(),
        **_counter_fields(),
        "items": inline_serializer("Item", _item_fields(), many=True),
        "limit": serializers.IntegerField(),
        "next_cursor": serializers.CharField(allow_null=True, help_text="For the next page; null after the last item."),
    },
)
JobDetail = inline_serializer(
    "Job",
    {
        **_job_fields(),
        **_counter_fields(),
        "progress": serializers.IntegerField(min_value=0, max_value=100),
        "error": inline_serializer(
            "JobError", {"type": serializers.CharField(), "message": serializers.CharField()}, allow_null=True
        ),
        "result_url": serializers.CharField(required=False, help_text="Only when completed."),
        "message": serializers.CharField(
            required=False, help_text="Only of a queued job, while the speech model is being downloaded or loaded."
        ),
        "webhook": inline_serializer(
            "JobWebhook",
            {
                "status": serializers.ChoiceField(
                    choices=["pending", "delivered", "failed"], help_text="pending until the job has ended, too."
                ),
                "attempts": serializers.IntegerField(help_text="How often it was sent."),
                "last_status": serializers.IntegerField(
                    allow_null=True, help_text="HTTP status of the last answer; null if there was none."
                ),
                "next_attempt_at": serializers.CharField(allow_null=True, help_text="YYYY-MM-DD HH:MM:SS, UTC."),
                "delivered_at": serializers.CharField(allow_null=True),
            },
            required=False,
            allow_null=True,
            help_text="What became of its webhook_url, only of a job with one; null once the log was deleted.",
        ),
    },
)
JobStatus = inline_serializer(
    "JobStatus",
    {
        "job_id": serializers.UUIDField(),
        "status": serializers.ChoiceField(choices=["queued", "processing", "completed", "failed", "canceled"]),
        "progress": serializers.IntegerField(min_value=0, max_value=100),
        "transcript": serializers.CharField(allow_null=True, help_text="The plain text, once the job has completed."),
        "error": inline_serializer(
            "StatusError", {"type": serializers.CharField(), "message": serializers.CharField()}, allow_null=True
        ),
    },
)
JobEvent = inline_serializer(
    "JobEvent",
    {
        "event": serializers.ChoiceField(choices=["started", "progress", "segment", "end", "error"]),
        "data": serializers.CharField(
            help_text="A JSON object. That of end is the job, or {} of one that was deleted. That of error is an error."
        ),
    },
)
Deleted = inline_serializer("Deleted", {"id": serializers.UUIDField(), "deleted": serializers.BooleanField()})
Result = inline_serializer(
    "Result",
    {
        "job_id": serializers.UUIDField(),
        "model": serializers.CharField(),
        "engine": serializers.CharField(),
        "task": serializers.ChoiceField(choices=["transcribe", "translate"], help_text="What was done."),
        "language": serializers.CharField(allow_null=True, help_text="The spoken language, or the most frequent one."),
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
        "notes": serializers.ListField(child=serializers.CharField(), help_text="Remarks about the result."),
        "metadata": serializers.DictField(child=serializers.CharField(), help_text="As it was sent."),
        "created_at": serializers.CharField(),
    },
)
ModelList = inline_serializer(
    "ModelList",
    {
        "object": serializers.CharField(help_text="Always list."),
        "data": inline_serializer(
            "Model",
            {
                "id": serializers.CharField(help_text="For the field model."),
                "object": serializers.CharField(help_text="Always model."),
                "created": serializers.IntegerField(help_text="Always 0."),
                "owned_by": serializers.CharField(),
                "engine": serializers.CharField(help_text="Its name in results."),
                "tasks": serializers.ListField(child=serializers.CharField(), help_text="transcribe, translate."),
                "language_count": serializers.IntegerField(help_text="See the list of languages."),
                "diarizer": serializers.CharField(
                    allow_null=True, help_text="The diarizer; null without speaker labels."
                ),
                "price_per_hour_dollars": serializers.CharField(help_text="With six decimals."),
            },
            many=True,
        ),
    },
)
LanguageList = inline_serializer(
    "LanguageList",
    {
        "languages": inline_serializer(
            "Language",
            {
                "code": serializers.CharField(help_text="For the field language."),
                "name": serializers.CharField(help_text="In English."),
                "models": serializers.ListField(child=serializers.CharField(), help_text="That know it."),
            },
            many=True,
        )
    },
)
