"""The shapes of OpenAI's audio API for the OpenAPI document. Descriptions only: `answers` makes the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, inline_serializer
from rest_framework import serializers

from accounts.gate.views import data_fields
from transcription.dialects.openai.answers import EVENTS
from transcription.dialects.openai.wire import FORMATS, GRANULARITIES

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 255 characters. The same request with the same key within 24 hours gets the same answer.",
)
ERROR = inline_serializer(
    "OpenAiError",
    {
        "error": inline_serializer(
            "OpenAiErrorBody",
            {
                "message": serializers.CharField(),
                "type": serializers.CharField(help_text="Stable: check this in programs."),
                "param": serializers.CharField(allow_null=True, help_text="The field that is wrong."),
                "code": serializers.CharField(help_text="As type."),
                "request_id": serializers.CharField(),
                # The field that is wrong is always there.
                **{name: field for name, field in data_fields().items() if name != "param"},
            },
        )
    },
)


def _strings(help_text: str) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(), required=False, help_text=help_text)


def _fields() -> dict[str, Any]:
    return {
        "model": serializers.CharField(help_text="whisper-1, gpt-4o-transcribe ...; GET /v1/models lists all."),
        "language": serializers.CharField(
            required=False, help_text="ISO 639-1 or 639-3, or a tag such as en-US; detected if omitted or auto."
        ),
        "languages": _strings("Codes among which the language is detected."),
        "prompt": serializers.CharField(required=False, help_text="A hint. Of a long one the end counts."),
        "keywords": _strings("Expected terms: up to 100 of up to 100 characters each."),
        "response_format": serializers.ChoiceField(choices=FORMATS, default="json"),
        "timestamp_granularities": serializers.ListField(
            child=serializers.ChoiceField(choices=GRANULARITIES),
            required=False,
            help_text="Which lists verbose_json has: segment (default), word, or both.",
        ),
        "include": serializers.ListField(
            child=serializers.ChoiceField(choices=["logprobs"]), required=False, help_text="logprobs of each word."
        ),
        "stream": serializers.BooleanField(default=False, help_text="Server-sent events while the text is recognised."),
        "diarize": serializers.BooleanField(
            default=False, help_text="Label speakers in verbose_json too; diarized_json always does."
        ),
        "temperature": serializers.FloatField(
            required=False, min_value=0, max_value=1, help_text="From 0 to 1; has no effect."
        ),
        "url": serializers.CharField(
            required=False, help_text="Public address of the recording, in place of the recording itself."
        ),
    }


FormRequest = inline_serializer(
    "OpenAiTranscriptionForm",
    {
        "file": serializers.FileField(
            required=False, help_text="Audio, or a video with sound: up to 25 MiB. Required without url."
        ),
        **_fields(),
    },
)
JsonRequest = inline_serializer(
    "OpenAiTranscriptionJson",
    {
        "input_audio": inline_serializer(
            "OpenAiInputAudio",
            {
                "data": serializers.CharField(help_text="The recording in base64."),
                "format": serializers.CharField(required=False, help_text="wav, mp3 ...; a hint only."),
            },
            required=False,
            help_text="Required without url.",
        ),
        **_fields(),
    },
)


# The answers share these: two classes of one name would be two components of the document.
_COMMON: dict[str, Any] = {
    "text": serializers.CharField(),
    "language": serializers.CharField(help_text="In English and lower case; unknown without speech."),
    "languages": inline_serializer("OpenAiLanguage", {"code": serializers.CharField()}, many=True),
    "model": serializers.CharField(),
    "usage": inline_serializer(
        "OpenAiUsage",
        {
            "type": serializers.CharField(help_text="Always duration."),
            "seconds": serializers.FloatField(),
            "cost": serializers.FloatField(required=False, help_text="Dollars; after a JSON body only."),
        },
    ),
    "logprobs": inline_serializer(
        "OpenAiLogprob",
        {
            "token": serializers.CharField(trim_whitespace=False),
            "logprob": serializers.FloatField(),
            "bytes": serializers.ListField(child=serializers.IntegerField()),
        },
        many=True,
        required=False,
    ),
    "x_groq": inline_serializer("OpenAiGroq", {"id": serializers.CharField()}),
}


def _timed() -> dict[str, Any]:
    return {
        "task": serializers.ChoiceField(choices=["transcribe", "translate"]),
        "duration": serializers.FloatField(help_text="Seconds."),
        **_COMMON,
    }


Plain = inline_serializer("OpenAiTranscription", {**_COMMON})
Verbose = inline_serializer(
    "OpenAiTranscriptionVerbose",
    {
        **_timed(),
        "segments": inline_serializer(
            "OpenAiVerboseSegment",
            {
                "id": serializers.IntegerField(),
                "seek": serializers.IntegerField(),
                "start": serializers.FloatField(),
                "end": serializers.FloatField(),
                "text": serializers.CharField(),
                "tokens": serializers.ListField(child=serializers.IntegerField(), help_text="Always empty."),
                "temperature": serializers.FloatField(),
                "avg_logprob": serializers.FloatField(),
                "compression_ratio": serializers.FloatField(),
                "no_speech_prob": serializers.FloatField(help_text="Always 0: silence is cut out before."),
                "speaker": serializers.CharField(required=False),
            },
            many=True,
            required=False,
        ),
        "words": inline_serializer(
            "OpenAiWord",
            {"word": serializers.CharField(), "start": serializers.FloatField(), "end": serializers.FloatField()},
            many=True,
            required=False,
        ),
    },
)
Diarized = inline_serializer(
    "OpenAiTranscriptionDiarized",
    {
        **_timed(),
        "segments": inline_serializer(
            "OpenAiDiarizedSegment",
            {
                "type": serializers.CharField(),
                "id": serializers.CharField(),
                "start": serializers.FloatField(),
                "end": serializers.FloatField(),
                "text": serializers.CharField(),
                "speaker": serializers.CharField(help_text="A, B ..."),
            },
            many=True,
        ),
    },
)
Event = inline_serializer(
    "OpenAiEvent",
    {
        "event": serializers.ChoiceField(choices=EVENTS),
        "data": serializers.CharField(help_text="A JSON object: its type is the event's name, or it has an error."),
    },
)
ANSWER = PolymorphicProxySerializer(
    component_name="OpenAiAnswer", serializers=[Verbose, Diarized, Plain], resource_type_field_name=None
)


def _operation(summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": ["OpenAI audio"],
        "request": {"multipart/form-data": FormRequest, "application/json": JsonRequest},
        "responses": {
            (200, "application/json"): ANSWER,
            (200, "text/plain"): OpenApiTypes.STR,
            (200, "text/vtt"): OpenApiTypes.STR,
            (200, "text/event-stream"): Event,
            **dict.fromkeys((400, 401, 402, 403, 408, 409, 413, 429, 500, 503, 504), ERROR),
        },
        "parameters": [IDEMPOTENCY_KEY],
    }


TRANSCRIPTION = _operation("Transcribe a recording (OpenAI)")
TRANSLATION = _operation("Translate a recording into English (OpenAI)")
