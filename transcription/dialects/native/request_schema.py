"""The bodies of requests of the native API for the OpenAPI document. Descriptions only: `wire` reads them."""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

_URL_HELP = "A public http or https address of the recording, on port 80 or 443, without a user name."
_TRUNCATED_HELP = "Accept a file that is cut off, instead of refusing it."


UploadRequest = inline_serializer(
    "UploadRequest",
    {
        "file": serializers.FileField(
            required=False, help_text="Audio, or a video with sound: up to 2 GiB and 10 hours. Required without url."
        ),
        "url": serializers.CharField(required=False, help_text=f"Instead of file. {_URL_HELP}"),
        "accept_truncated": serializers.BooleanField(default=False, help_text=_TRUNCATED_HELP),
    },
)


UploadUrlRequest = inline_serializer(
    "UploadUrlRequest",
    {
        "url": serializers.CharField(help_text=_URL_HELP),
        "accept_truncated": serializers.BooleanField(default=False, help_text=_TRUNCATED_HELP),
    },
)


def option_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    """Return the fields of an order beside the recording itself."""
    return {
        "model": serializers.ChoiceField(choices=["standard", "premium"], default="standard"),
        "language": serializers.CharField(
            required=False,
            help_text="A code of GET /v1/languages, or a tag such as en-US; detected if omitted or auto.",
        ),
        "languages": serializers.CharField(
            required=False, help_text="Codes among which it is detected, comma-separated."
        ),
        "task": serializers.ChoiceField(
            choices=["transcribe", "translate"],
            default="transcribe",
            help_text="translate: the text is English, whatever is spoken. See the models for which can.",
        ),
        "prompt": serializers.CharField(
            required=False, max_length=4000, help_text="A hint: names, topic, or what was said before."
        ),
        "hotwords": serializers.CharField(
            required=False, help_text="Expected terms, comma-separated: up to 100 of up to 100 characters each."
        ),
        "word_timestamps": serializers.BooleanField(
            default=True, help_text="false: the segments of the JSON result have no words."
        ),
        "channels": serializers.ChoiceField(
            choices=["mix", "split"],
            default="mix",
            help_text="split: each channel (up to 8) is one speaker, transcribed and billed as a separate recording.",
        ),
        "mixed_languages": serializers.BooleanField(
            default=False, help_text="Detect the language every half minute instead of once. Not with language."
        ),
        "accept_truncated": serializers.BooleanField(
            default=False,
            help_text="Transcribe what is there of a file that is cut off, instead of refusing it.",
        ),
        "diarize": serializers.BooleanField(default=True, help_text="Label speakers."),
        "num_speakers": serializers.IntegerField(
            required=False,
            min_value=1,
            max_value=20,
            help_text="Exact number of speakers. Not with min_speakers or max_speakers.",
        ),
        "min_speakers": serializers.IntegerField(required=False, min_value=1, max_value=20, help_text="At least."),
        "max_speakers": serializers.IntegerField(required=False, min_value=1, max_value=20, help_text="At most."),
        "webhook_url": serializers.CharField(
            required=False,
            help_text="Gets a signed POST when the job ends. A public address, on port 80 or 443.",
        ),
        "webhook_auth_header_name": serializers.CharField(
            required=False, help_text="A header that your server asks for, such as Authorization."
        ),
        "webhook_auth_header_value": serializers.CharField(
            required=False, help_text="Its value. It is stored encrypted and never shown again."
        ),
        "metadata": serializers.DictField(
            child=serializers.CharField(),
            required=False,
            help_text="Up to 16 pairs of texts, which come back with the job. In a form, the text of a JSON object.",
        ),
        "retention": serializers.CharField(
            default="keep",
            help_text="keep, delete_after_retrieval (an hour after the result was first retrieved), or the days for "
            "which recording and result are kept after the end, 1 to 3650.",
        ),
    }


_FILE_ID_HELP = "Of POST /v1/upload."


TranscribeRequest = inline_serializer(
    "TranscribeRequest",
    {
        "file": serializers.FileField(
            required=False,
            help_text="Audio, or a video with sound: up to 2 GiB and 10 hours. Required without file_id or url.",
        ),
        "file_id": serializers.UUIDField(required=False, help_text=f"Instead of file. {_FILE_ID_HELP}"),
        "url": serializers.CharField(required=False, help_text=f"Instead of file. {_URL_HELP}"),
        **option_fields(),
    },
)


TranscribeJsonRequest = inline_serializer(
    "TranscribeJsonRequest",
    {
        "file_id": serializers.UUIDField(required=False, help_text=f"{_FILE_ID_HELP} Required without url."),
        "url": serializers.CharField(required=False, help_text=f"Instead of file_id. {_URL_HELP}"),
        "files": inline_serializer(
            "BatchFile",
            {
                "file_id": serializers.UUIDField(required=False, help_text=f"{_FILE_ID_HELP} Or url."),
                "url": serializers.CharField(required=False, help_text=_URL_HELP),
                "reference": serializers.CharField(
                    required=False, max_length=255, help_text="Your name of the file, unique in the job."
                ),
                "language": serializers.CharField(
                    required=False, help_text="Of this file alone; otherwise the language of the job."
                ),
            },
            many=True,
            required=False,
            help_text="Instead of file_id and url: 1 to 10,000 files, which become one job.",
        ),
        **option_fields(),
    },
)
