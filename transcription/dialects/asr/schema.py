"""The shapes of whisper-asr-webservice's API for the OpenAPI document. Descriptions only: `wire` makes the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from accounts.gate.views import data_fields
from transcription.dialects.asr import wire

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 255 characters. The same request with the same key within 24 hours gets the same answer.",
)
_ENCODE = OpenApiParameter(
    "encode",
    OpenApiTypes.BOOL,
    description="false: the file has no header and is 16 bits signed little-endian, 16 kHz, mono (default true).",
)
_MODEL = OpenApiParameter("model", OpenApiTypes.STR, description="A name of GET /v1/models (default standard).")
_NAME = OpenApiParameter("video_file", OpenApiTypes.STR, description="What the dashboard calls the recording.")
DETECTION_PARAMETERS = [_ENCODE, _MODEL, _NAME]
PARAMETERS = [
    OpenApiParameter("output", OpenApiTypes.STR, enum=list(wire.OUTPUTS), description="Default: txt."),
    OpenApiParameter("task", OpenApiTypes.STR, enum=["transcribe", "translate"], description="Default: transcribe."),
    OpenApiParameter("language", OpenApiTypes.STR, description="A code, tag or English name; detected if omitted."),
    OpenApiParameter("initial_prompt", OpenApiTypes.STR, description="A hint: names, topic, or what was said before."),
    OpenApiParameter("word_timestamps", OpenApiTypes.BOOL, description="json: words with their times (default false)."),
    OpenApiParameter("diarize", OpenApiTypes.BOOL, description="Label speakers (default false)."),
    OpenApiParameter("min_speakers", OpenApiTypes.INT, description="With diarize: at least so many, up to 20."),
    OpenApiParameter("max_speakers", OpenApiTypes.INT, description="With diarize: at most so many, up to 20."),
    OpenApiParameter("hotwords", OpenApiTypes.STR, description="Expected terms, comma-separated."),
    *DETECTION_PARAMETERS,
]

Recording = inline_serializer(
    "AsrRecording", {"audio_file": serializers.FileField(help_text="Up to 2 GiB and 10 hours.")}
)

Result = inline_serializer(
    "AsrResult",
    {
        "text": serializers.CharField(allow_blank=True),
        "language": serializers.CharField(allow_null=True),
        "segments": inline_serializer(
            "AsrSegment",
            {
                "id": serializers.IntegerField(),
                "start": serializers.FloatField(help_text="Seconds."),
                "end": serializers.FloatField(),
                "text": serializers.CharField(),
                "speaker": serializers.CharField(required=False, help_text="SPEAKER_00, ... with diarize."),
                "words": inline_serializer(
                    "AsrWord",
                    {
                        "word": serializers.CharField(),
                        "start": serializers.FloatField(),
                        "end": serializers.FloatField(),
                        "probability": serializers.FloatField(),
                        "speaker": serializers.CharField(required=False),
                    },
                    many=True,
                    required=False,
                ),
            },
            many=True,
        ),
    },
)

DetectedLanguage = inline_serializer(
    "AsrDetectedLanguage",
    {
        "detected_language": serializers.CharField(help_text="Whisper's English name, in lower case."),
        "language_code": serializers.CharField(help_text="und without speech."),
        "confidence": serializers.FloatField(help_text="0 to 1."),
    },
)

_ERROR = inline_serializer(
    "AsrError",
    {
        "detail": serializers.CharField(),
        "type": serializers.CharField(help_text="Stable: check this in programs."),
        "request_id": serializers.CharField(),
        **data_fields(),
    },
)


def error_responses(*statuses: int) -> dict[int, Any]:
    """Return the error responses of an address, for its OpenAPI description."""
    return dict.fromkeys(statuses, _ERROR)
