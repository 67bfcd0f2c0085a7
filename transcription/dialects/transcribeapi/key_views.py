"""The public keys of webhooks at TranscribeAPI's two addresses."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from transcription.dialects.transcribeapi import schema
from transcription.dialects.transcribeapi.gate import TranscribeApiGateView
from transcription.dialects.webhook_keys import MAX_AGE_SECONDS
from transcription.webhooks import keys

DESCRIPTION: dict[str, Any] = {
    "summary": "List webhook keys as TranscribeAPI does",
    "tags": ["Webhooks"],
    "auth": [],
    "responses": schema.Keys,
}


class _KeysView(TranscribeApiGateView):
    needs_key = False

    def respond(self) -> Response:
        """Return the document. `key_id` is what the header X-TranscribeAPI-Key-Id has."""
        document = keys.public_document(now=timezone.now())
        shown = [{"key_id": key["kid"], "algorithm": "ed25519", **key} for key in document["keys"]]
        return Response({"keys": shown}, headers={"Cache-Control": f"public, max-age={MAX_AGE_SECONDS}"})


class TranscribeApiKeysView(_KeysView):
    """Below the base URL of the packages."""

    @extend_schema(operation_id="transcribeapi_webhook_keys", **DESCRIPTION)
    def get(self, request: Request) -> Response:
        """The same keys as at `/.well-known/webhook-keys.json`. The key named by the header X-TranscribeAPI-Key-Id
        checks the signature over `timestamp.body`.
        """
        return self.respond()


class TranscribeApiRootKeysView(_KeysView):
    """At the root of the site."""

    @extend_schema(operation_id="transcribeapi_webhook_keys_at_root", **DESCRIPTION)
    def get(self, request: Request) -> Response:
        """The same document as below `/transcribeapi/`."""
        return self.respond()
