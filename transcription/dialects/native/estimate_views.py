"""`POST /v1/estimate`: what a call would cost, before it is made."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.gate import key_scopes
from accounts.gate.native import NativeGateView, error_responses
from accounts.gate.views import data_fields
from accounts.models import Scope
from transcription import estimates, recognition
from transcription.dialects import json_parsing, steps
from transcription.dialects.json_parsing import JsonParser
from transcription.dialects.native import batch, estimate_wire, job_fields, json_body, request_schema, wire
from transcription.jobs.submission import MAX_FILES
from transcription.speech.options import TranscriptionOptions

_LENGTH: dict[str, serializers.Field[Any, Any, Any, Any]] = {
    "duration_seconds": serializers.FloatField(
        required=False, help_text="Length of a recording that is not stored here. Required without file_id."
    ),
    "channel_count": serializers.IntegerField(
        required=False, min_value=1, max_value=estimate_wire.MAX_CHANNELS, help_text="Its channels (default 1)."
    ),
}
_FILE = inline_serializer(
    "EstimateFile",
    {
        "file_id": serializers.UUIDField(required=False, help_text="A stored file; then nothing else is needed."),
        "url": serializers.CharField(required=False, help_text="Not fetched. It needs a duration_seconds beside it."),
        **_LENGTH,
        "reference": serializers.CharField(required=False),
        "language": serializers.CharField(required=False),
    },
)
REQUEST = inline_serializer(
    "EstimateRequest",
    {
        "kind": serializers.ChoiceField(choices=list(estimate_wire.KINDS), default=estimate_wire.TRANSCRIPTION),
        "file_id": serializers.UUIDField(required=False, help_text="transcription, language_detection: a stored file."),
        "url": serializers.CharField(required=False, help_text="Not fetched. It needs a duration_seconds beside it."),
        "files": serializers.ListField(child=_FILE, required=False, help_text="The files of a batch."),
        **_LENGTH,
        "request": serializers.DictField(
            required=False, help_text="chat: the body of POST /v1/apex/chat/completions. Required there."
        ),
        "job_id": serializers.UUIDField(
            required=False, help_text="answer, rewriting: the job of the transcript. Required there."
        ),
        "question": serializers.CharField(
            required=False, max_length=1000, help_text="answer: the question; without one, the summary."
        ),
        "instruction": serializers.CharField(
            required=False, max_length=4000, help_text="rewriting: what is done with the text. Required there."
        ),
        "max_tokens": serializers.IntegerField(
            required=False, min_value=1, max_value=estimate_wire.MAX_LLM_TOKENS, help_text="rewriting."
        ),
        **{
            name: field
            for name, field in request_schema.option_fields().items()
            # A model may be one of the other APIs, or a language model.
            if name != "model"
        },
        "model": serializers.CharField(
            required=False,
            help_text="transcription, language_detection: a name of GET /v1/models (default standard). rewriting: the "
            "language model.",
        ),
    },
)
_RECORDING = inline_serializer(
    "EstimatedRecording",
    {
        "duration_seconds": serializers.FloatField(),
        "cost_micros": serializers.IntegerField(),
        "cost_dollars": serializers.CharField(),
    },
)
ANSWER = inline_serializer(
    "Estimate",
    {
        "kind": serializers.ChoiceField(choices=list(estimate_wire.KINDS)),
        "model": serializers.CharField(),
        "cost_micros": serializers.IntegerField(
            help_text="The price in micro-dollars. Of language models: for prompt_tokens and max_completion_tokens."
        ),
        "cost_dollars": serializers.CharField(help_text="The same in dollars, six places."),
        "max_cost_micros": serializers.IntegerField(
            help_text="The most that can be charged. Above cost_micros only for language models, whose prompt is "
            "estimated."
        ),
        "max_cost_dollars": serializers.CharField(),
        "held_micros": serializers.IntegerField(
            help_text="What would be held until the call ends; 0 if it would be refused."
        ),
        "held_dollars": serializers.CharField(),
        "is_allowed": serializers.BooleanField(help_text="Whether balance and limits admit the call now."),
        "refusal": inline_serializer(
            "EstimatedRefusal",
            {"type": serializers.CharField(), "message": serializers.CharField(), **data_fields()},
            allow_null=True,
            help_text="The error 402 that the call would get, without its code.",
        ),
        "recordings": serializers.ListField(
            child=_RECORDING, required=False, help_text="transcription, language_detection: each recording, in order."
        ),
        "prompt_tokens": serializers.IntegerField(required=False, help_text="Language models: an estimate."),
        "max_completion_tokens": serializers.IntegerField(
            required=False,
            help_text="Language models: the most that all choices together may have. A small balance makes it smaller.",
        ),
    },
)


class EstimateJsonParser(JsonParser):
    """Reads an object with the files of a batch, or with a chat request."""

    max_bytes = json_body.MAX_BATCH_BODY_BYTES


class EstimateView(NativeGateView):
    """What a call would cost."""

    parser_classes = [EstimateJsonParser]

    @extend_schema(
        operation_id="estimate",
        summary="Estimate a price",
        tags=["Billing"],
        request={"application/json": REQUEST},
        responses={200: ANSWER, **error_responses(400, 401, 403, 404, 409, 413, 429, 503)},
    )
    def post(self, request: Request) -> Response:
        """Return what a call would cost, what would be held, and whether balance and limits admit it now.

        Nothing is charged, held or stored. Send the JSON body of the call. `kind` says which call it is: transcription
        (as POST /v1/transcribe), language_detection, chat, answer (a question about a transcript, or its summary) or
        rewriting (a transcript that a language model rewrites). For a recording that is not stored here, say its
        `duration_seconds`, and its `channel_count` if its channels are transcribed apart. A call that would be refused
        for another reason than money is refused here with the same error. The key needs the scope of the call.
        """
        body = request.data
        assert isinstance(body, dict), "JsonParser returns objects"
        kind = estimate_wire.read_kind(body)
        key_scopes.require_one_of(_SCOPES[kind], api_key=self.caller.api_key)
        return Response(estimate_wire.show_estimate(kind, self._ESTIMATES[kind](self, body)))

    def _transcription(self, body: Mapping[str, Any]) -> estimates.Estimate:
        lengths = _read_lengths(body)
        fields = json_body.as_fields({name: value for name, value in body.items() if name not in _NO_TEXTS})
        offers = recognition.capabilities()
        named = fields.get("model", "").strip()
        if named:
            offers[named] = recognition.capabilities_of(named)
        model, options = wire.read_options(fields, offers=offers)
        # What else the call would refuse.
        json_parsing.read_metadata(fields)
        job_fields.read_retention(fields)
        job_fields.read_webhook(fields)
        for number, one in enumerate(body.get(json_body.FILES, ())):
            batch.read_file_language(
                (one.get("language") or "").strip(),
                path=f"{json_body.FILES}[{number}]",
                known=offers[model].languages,
            )
        return self._of_recordings(model, options=options, lengths=lengths)

    def _detection(self, body: Mapping[str, Any]) -> estimates.Estimate:
        options = TranscriptionOptions(diarize=False, only_language=True)
        model = estimate_wire.read_text(body, "model") or "standard"
        return self._of_recordings(model, options=options, lengths=_read_lengths(body))

    def _chat(self, body: Mapping[str, Any]) -> estimates.Estimate:
        return estimates.of_chat(
            self.caller.organization, api_key=self.caller.api_key, body=estimate_wire.read_chat(body)
        )

    def _answer(self, body: Mapping[str, Any]) -> estimates.Estimate:
        question = estimate_wire.read_text(body, "question")
        job = steps.find_job(self.caller, estimate_wire.read_text(body, "job_id", is_required=True))
        api_key = self.caller.api_key
        return estimates.of_answer(job, api_key=api_key if api_key.is_token else None, question=question)

    def _rewriting(self, body: Mapping[str, Any]) -> estimates.Estimate:
        instruction, model, max_tokens = estimate_wire.read_instruction(body)
        job = steps.find_job(self.caller, estimate_wire.read_text(body, "job_id", is_required=True))
        return estimates.of_rewriting(
            job, api_key=self.caller.api_key, instruction=instruction, model=model, max_tokens=max_tokens
        )

    def _of_recordings(
        self, model: str, *, options: TranscriptionOptions, lengths: list[estimates.Length]
    ) -> estimates.Estimate:
        return estimates.of_recordings(
            self.caller.organization, api_key=self.caller.api_key, model=model, options=options, lengths=lengths
        )

    _ESTIMATES: Mapping[str, Callable[["EstimateView", Mapping[str, Any]], estimates.Estimate]] = {
        estimate_wire.TRANSCRIPTION: _transcription,
        estimate_wire.DETECTION: _detection,
        estimate_wire.CHAT: _chat,
        estimate_wire.ANSWER: _answer,
        estimate_wire.REWRITING: _rewriting,
    }


# What a key must be allowed: a price tells of a file's length, and a refusal of the balance.
_SCOPES: Mapping[str, frozenset[Scope]] = {
    estimate_wire.TRANSCRIPTION: key_scopes.TRANSCRIBE,
    estimate_wire.DETECTION: key_scopes.TRANSCRIBE,
    estimate_wire.CHAT: key_scopes.CHAT,
    # Not `read`, which sees no balance: it never meets a refusal that tells of it.
    estimate_wire.ANSWER: key_scopes.TRANSCRIBE,
    estimate_wire.REWRITING: key_scopes.TRANSCRIBE,
}
# Fields that `json_body.as_fields` does not read: a length may have a fraction.
_NO_TEXTS = ("kind", *estimate_wire.LENGTH_FIELDS)


def _read_lengths(body: Mapping[str, Any]) -> list[estimates.Length]:
    return [
        estimates.Length(file_id=file_id, duration_ms=duration_ms, channel_count=channel_count)
        for file_id, duration_ms, channel_count in estimate_wire.read_lengths(
            body, max_duration_ms=settings.MAX_AUDIO_MS, max_files=MAX_FILES
        )
    ]
