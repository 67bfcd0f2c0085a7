"""The shapes of VoxNexus's API for the OpenAPI document. Descriptions only: `wire` makes the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from accounts.gate.views import data_fields
from transcription.dialects.voxnexus import wire

PARAMETERS = [
    OpenApiParameter(
        "model_id", OpenApiTypes.STR, required=True, description="vn-stt-basic, or a model of GET /v1/models."
    ),
    OpenApiParameter(
        "sample_rate",
        {"type": "integer", "minimum": 1, "maximum": wire.MAX_SAMPLE_RATE},
        required=True,
        description="Hz. Counts for a body without a container: signed 16-bit little-endian mono PCM.",
    ),
    OpenApiParameter(
        "language", OpenApiTypes.STR, description="A code or locale, such as en or en-US; detected if omitted."
    ),
    OpenApiParameter("enable_timestamps", OpenApiTypes.BOOL, description="Return words (default false)."),
    OpenApiParameter("enable_speaker_diarization", OpenApiTypes.BOOL, description="Return speakers (default false)."),
    OpenApiParameter(
        "enable_llm_transform",
        OpenApiTypes.BOOL,
        description="Have a language model rewrite the transcript, charged by token (default false).",
    ),
    OpenApiParameter(
        "llm_prompt",
        {"type": "string", "maxLength": wire.MAX_PROMPT_LENGTH},
        description="What the model shall do; required with enable_llm_transform=true.",
    ),
    OpenApiParameter(
        "llm_model_id", OpenApiTypes.STR, description="A model of GET /v1/apex/models; other names mean the default."
    ),
    OpenApiParameter(
        "llm_max_tokens",
        {"type": "integer", "minimum": 1, "maximum": wire.MAX_LLM_TOKENS},
        description=f"The longest text that the model writes, in tokens (default {wire.MAX_LLM_TOKENS}).",
    ),
    OpenApiParameter(
        "metadata",
        OpenApiTypes.STR,
        description="A JSON object of texts, which stand in the job and are the tags of its charges.",
    ),
    OpenApiParameter(
        "Idempotency-Key",
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description="At most 255 characters. The same request with the same key gets the stored response for 24 hours.",
    ),
]

SpeechResult = inline_serializer(
    "SttResult",
    {
        "request_id": serializers.CharField(),
        "transcript": serializers.CharField(allow_blank=True, help_text="What was recognised."),
        "text": serializers.CharField(allow_blank=True, help_text="The rewritten text, or the transcript."),
        "duration_ms": serializers.IntegerField(help_text="Length of the recording."),
        "created_at": serializers.DateTimeField(),
        "language": serializers.CharField(required=False, help_text="A locale such as en-US. Absent without speech."),
        "words": inline_serializer(
            "SttWord",
            {
                "word": serializers.CharField(),
                "offset": serializers.IntegerField(help_text="Milliseconds from the start."),
                "duration": serializers.IntegerField(help_text="Milliseconds."),
                "confidence": serializers.FloatField(),
            },
            many=True,
            required=False,
        ),
        "speakers": inline_serializer(
            "SttSpeaker",
            {
                "speaker_id": serializers.CharField(help_text="speaker_1, speaker_2, ..."),
                "text": serializers.CharField(),
                "offset": serializers.IntegerField(help_text="Milliseconds from the start."),
                "duration": serializers.IntegerField(help_text="Milliseconds."),
            },
            many=True,
            required=False,
        ),
        "warnings": serializers.ListField(
            child=serializers.CharField(), required=False, help_text="What had no effect or was not heard."
        ),
    },
)

_ERROR = inline_serializer(
    "SttError",
    {
        "error": inline_serializer(
            "SttErrorBody",
            {
                "code": serializers.CharField(help_text="Stable: check this in programs."),
                "message": serializers.CharField(),
                **data_fields(),
            },
        ),
        "request_id": serializers.CharField(),
    },
)


def error_responses(*statuses: int) -> dict[int, Any]:
    """Return the error responses of an address, for its OpenAPI description."""
    return dict.fromkeys(statuses, _ERROR)
