"""The public keys by which receivers check the signatures of webhooks."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.gate.native import NativeGateView
from transcription.webhooks import keys

# Less than keys are published ahead (`keys.PUBLISHED_AHEAD`).
MAX_AGE_SECONDS = 3600


class WebhookKey(serializers.Serializer):  # type: ignore[type-arg]  # generic in the stubs only
    """One public key, as Standard Webhooks and as a JWK have it."""

    kid = serializers.CharField(help_text="Name of the key.")
    public_key = serializers.CharField(help_text="`whpk_` and the 32 bytes of the key in base64.")
    kty = serializers.CharField(help_text="`OKP`.")
    crv = serializers.CharField(help_text="`Ed25519`.")
    alg = serializers.CharField(help_text="`EdDSA`.")
    use = serializers.CharField(help_text="`sig`.")
    x = serializers.CharField(help_text="The 32 bytes of the key in base64url.")


class WebhookKeysView(NativeGateView):
    """The public keys of webhooks."""

    needs_key = False

    @extend_schema(
        operation_id="list_webhook_keys",
        summary="List webhook keys",
        tags=["Webhooks"],
        auth=[],
        responses=inline_serializer("WebhookKeys", {"keys": WebhookKey(many=True)}),
    )
    def get(self, request: Request) -> Response:
        """A webhook is genuine if one of these keys fits its signature. The first key signs now.

        Keys are replaced every three months. A new one stands here two days before it signs.
        """
        return Response(
            keys.public_document(now=timezone.now()),
            headers={"Cache-Control": f"public, max-age={MAX_AGE_SECONDS}"},
        )
