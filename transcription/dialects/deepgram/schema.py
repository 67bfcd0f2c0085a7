"""The shapes of Deepgram's API for the OpenAPI document. Descriptions only: `wire` makes the answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from accounts.gate.views import data_fields

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 255 characters. The same request with the same key within 24 hours gets the same answer.",
)


def _parameter(name: str, kind: Any, description: str, *, many: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, kind, description=description, many=many)


PARAMETERS = [
    _parameter(
        "model", OpenApiTypes.STR, "A name of Deepgram such as nova-3, or of GET /v1/models (default standard)."
    ),
    _parameter("language", OpenApiTypes.STR, "A code or tag, or multi; detected if omitted."),
    _parameter("detect_language", OpenApiTypes.STR, "true, or languages among which it is detected.", many=True),
    _parameter("language_hint", OpenApiTypes.STR, "With language=multi: the candidates.", many=True),
    _parameter("punctuate", OpenApiTypes.BOOL, "Marks and capital letters."),
    _parameter("smart_format", OpenApiTypes.BOOL, "As punctuate and paragraphs."),
    _parameter("paragraphs", OpenApiTypes.BOOL, "Paragraphs and sentences."),
    _parameter("utterances", OpenApiTypes.BOOL, "Stretches of speech of one speaker."),
    _parameter("utt_split", OpenApiTypes.NUMBER, "The pause in seconds that ends an utterance (default 0.8)."),
    _parameter("diarize", OpenApiTypes.BOOL, "Tell speakers apart."),
    _parameter("diarize_model", OpenApiTypes.STR, "As diarize; the model is that of this site."),
    _parameter(
        "multichannel", OpenApiTypes.BOOL, "Transcribe each channel (up to 8) apart; each is billed as a recording."
    ),
    _parameter("keyterm", OpenApiTypes.STR, "An expected term; up to 100.", many=True),
    _parameter("keywords", OpenApiTypes.STR, "As keyterm; a boost behind a colon has no effect.", many=True),
    _parameter("encoding", OpenApiTypes.STR, "linear16 for a body without a header: 16 bits signed little-endian."),
    _parameter("sample_rate", OpenApiTypes.INT, "With encoding=linear16: in Hz."),
    _parameter("channels", OpenApiTypes.INT, "With encoding=linear16: 1 to 8 (default 1)."),
    _parameter("tag", OpenApiTypes.STR, "Stands in metadata.tags.", many=True),
    _parameter("extra", OpenApiTypes.STR, "key:value, stands in metadata.extra.", many=True),
]

UrlRequest = inline_serializer(
    "DeepgramUrlRequest",
    {"url": serializers.CharField(help_text="A public http or https address of the recording, on port 80 or 443.")},
)
ERROR = inline_serializer(
    "DeepgramError",
    {
        "err_code": serializers.CharField(),
        "err_msg": serializers.CharField(),
        "request_id": serializers.CharField(),
        "type": serializers.CharField(help_text="Ours, stable: check this in programs."),
        **data_fields(),
    },
)


def error_responses(*statuses: int) -> dict[int, Any]:
    """Return the error responses of an address, for its OpenAPI description."""
    return dict.fromkeys(statuses, ERROR)


# One class for both places: two of one name would be two components of the document.
_WORDS = inline_serializer(
    "DeepgramWord",
    {
        "word": serializers.CharField(help_text="In lower case, without marks."),
        "punctuated_word": serializers.CharField(required=False),
        "start": serializers.FloatField(help_text="Seconds."),
        "end": serializers.FloatField(),
        "confidence": serializers.FloatField(help_text="0 to 1."),
        "speaker": serializers.IntegerField(required=False, help_text="From 0, with diarize."),
    },
    many=True,
)

_SENTENCES = inline_serializer(
    "DeepgramSentence",
    {"text": serializers.CharField(), "start": serializers.FloatField(), "end": serializers.FloatField()},
    many=True,
)
_PARAGRAPHS = inline_serializer(
    "DeepgramParagraphs",
    {
        "transcript": serializers.CharField(allow_blank=True),
        "paragraphs": inline_serializer(
            "DeepgramParagraph",
            {
                "sentences": _SENTENCES,
                "num_words": serializers.IntegerField(),
                "start": serializers.FloatField(),
                "end": serializers.FloatField(),
                "speaker": serializers.IntegerField(required=False),
            },
            many=True,
        ),
    },
    required=False,
)
_ALTERNATIVES = inline_serializer(
    "DeepgramAlternative",
    {
        "transcript": serializers.CharField(allow_blank=True),
        "confidence": serializers.FloatField(),
        "words": _WORDS,
        "languages": serializers.ListField(child=serializers.CharField(), required=False),
        "paragraphs": _PARAGRAPHS,
    },
    many=True,
)
_METADATA = inline_serializer(
    "DeepgramMetadata",
    {
        "transaction_key": serializers.CharField(),
        "request_id": serializers.CharField(),
        "sha256": serializers.CharField(help_text="Of the recording."),
        "created": serializers.DateTimeField(),
        "duration": serializers.FloatField(help_text="Seconds."),
        "channels": serializers.IntegerField(),
        "models": serializers.ListField(child=serializers.UUIDField()),
        "model_info": serializers.DictField(
            child=inline_serializer(
                "DeepgramModelInfo",
                {
                    "name": serializers.CharField(),
                    "version": serializers.CharField(help_text="The engine that ran."),
                    "arch": serializers.CharField(),
                },
            )
        ),
        "tags": serializers.ListField(child=serializers.CharField(), required=False),
        "extra": serializers.DictField(child=serializers.CharField(allow_blank=True), required=False),
        "warnings": inline_serializer(
            "DeepgramWarning",
            {
                "parameter": serializers.CharField(allow_blank=True),
                "type": serializers.CharField(help_text="unsupported_parameter, unknown_parameter or note."),
                "message": serializers.CharField(),
            },
            many=True,
            required=False,
        ),
    },
)
Answer = inline_serializer(
    "DeepgramAnswer",
    {
        "metadata": _METADATA,
        "results": inline_serializer(
            "DeepgramResults",
            {
                "channels": inline_serializer(
                    "DeepgramChannel",
                    {
                        "alternatives": _ALTERNATIVES,
                        "detected_language": serializers.CharField(required=False),
                        "language_confidence": serializers.FloatField(required=False),
                    },
                    many=True,
                ),
                "utterances": inline_serializer(
                    "DeepgramUtterance",
                    {
                        "id": serializers.UUIDField(),
                        "start": serializers.FloatField(),
                        "end": serializers.FloatField(),
                        "confidence": serializers.FloatField(),
                        "channel": serializers.IntegerField(),
                        "transcript": serializers.CharField(),
                        "words": _WORDS,
                        "speaker": serializers.IntegerField(required=False),
                    },
                    many=True,
                    required=False,
                ),
            },
        ),
    },
)

Projects = inline_serializer(
    "DeepgramProjects",
    {
        "projects": inline_serializer(
            "DeepgramListedProject",
            {"project_id": serializers.UUIDField(), "name": serializers.CharField()},
            many=True,
        )
    },
)
Project = inline_serializer(
    "DeepgramProject",
    {
        "project_id": serializers.UUIDField(),
        "name": serializers.CharField(),
        "mip_opt_out": serializers.BooleanField(help_text="True: no recording trains a model."),
    },
)
Balances = inline_serializer(
    "DeepgramBalances",
    {
        "balances": inline_serializer(
            "DeepgramBalance",
            {
                "balance_id": serializers.UUIDField(help_text="The id of the project."),
                "amount": serializers.FloatField(help_text="What can be spent now."),
                "units": serializers.CharField(help_text="usd."),
                "purchase_order_id": serializers.CharField(allow_blank=True, help_text="Empty."),
            },
            many=True,
        )
    },
)
