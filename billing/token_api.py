"""The native API of short-lived tokens for browsers: `/v1/tokens`, for any API key, about its own tokens."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import tokens
from accounts.errors import refuse_unknown
from accounts.gate import json_body
from accounts.gate.native import NativeGateView, error_responses
from accounts.models import TOKEN_SCOPES, ApiKey
from billing.credential_api import (
    MAX_LIMIT_MICROS,
    CredentialSerializer,
    id_in_address,
    scopes_field,
    show_credential,
)
from billing.models import TokenSpend

TAGS = ["Tokens"]
MAX_SECONDS = tokens.MAX_LIFETIME // timedelta(seconds=1)
DEFAULT_SECONDS = tokens.DEFAULT_LIFETIME // timedelta(seconds=1)
MAX_LISTED = 1000


class CreateTokenSerializer(serializers.Serializer[dict[str, Any]]):
    """A new token."""

    scopes = scopes_field(TOKEN_SCOPES, help_text="What the token may do: only scopes that your key has.")
    spend_limit_micros = serializers.IntegerField(
        min_value=0,
        max_value=MAX_LIMIT_MICROS,
        help_text="What the token may spend in its whole life, in micro-dollars. The limits of your key and your "
        "organization apply besides.",
    )
    expires_in_seconds = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_SECONDS,
        help_text=f"How long the token lives (default {DEFAULT_SECONDS}); never longer than your key.",
    )
    name = serializers.CharField(required=False, max_length=80, help_text="Whom it is for. Only you see it.")


class TokenSerializer(CredentialSerializer):
    """A token, without its secret."""

    expires_at = serializers.CharField()
    spend_limit_micros = serializers.IntegerField()
    spent_micros = serializers.IntegerField(help_text="Charges and open holds")


class NewTokenSerializer(TokenSerializer):
    """A token with its secret, which is shown this once."""

    secret = serializers.CharField(help_text="The token itself: send it where you would send an API key.")


class TokenListSerializer(serializers.Serializer[dict[str, Any]]):
    """Live tokens, the newest first."""

    tokens = TokenSerializer(many=True)


class TokensView(NativeGateView):
    """The tokens of the caller's key."""

    @extend_schema(
        operation_id="list_tokens",
        summary="List tokens",
        tags=TAGS,
        responses={200: TokenListSerializer, **error_responses(400, 401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        """Return the live tokens that your key has made."""
        tokens.require_key(self.caller.api_key)
        refuse_unknown(request.query_params, known=[])
        rows = ApiKey.objects.tokens_of(self.caller.api_key).live(now=timezone.now()).order_by("-created_at")
        return Response({"tokens": _show(rows[:MAX_LISTED])})

    @extend_schema(
        operation_id="create_token",
        summary="Create a token",
        tags=TAGS,
        request=CreateTokenSerializer,
        responses={201: NewTokenSerializer, **error_responses(400, 401, 403, 409, 429)},
    )
    def post(self, request: Request) -> Response:
        """Create a token that a browser can use instead of an API key. It is in this response and nowhere else.

        Call this from your server. What the token spends is charged to your organization, under your key.
        Revoke your key, and its tokens are revoked with it.
        """
        tokens.require_key(self.caller.api_key)
        fields = json_body.read(CreateTokenSerializer, request.data)
        row, secret = tokens.issue(
            self.caller.api_key,
            name=fields.get("name", "token"),
            scopes=fields["scopes"],
            lifetime=timedelta(seconds=fields.get("expires_in_seconds", DEFAULT_SECONDS)),
            spend_limit_micros=fields["spend_limit_micros"],
        )
        return Response({**_show([row])[0], "secret": secret}, status=201)


class TokenView(NativeGateView):
    """One token of the caller's key."""

    @extend_schema(
        operation_id="get_token",
        summary="Get a token",
        tags=TAGS,
        responses={200: TokenSerializer, **error_responses(401, 403, 404, 429)},
    )
    def get(self, _request: Request, token_id: str) -> Response:
        """Return a token with what it has spent. One that has ended is kept for 30 days."""
        tokens.require_key(self.caller.api_key)
        return Response(_show([tokens.of_key(self.caller.api_key, token_id=id_in_address(token_id, noun="token"))])[0])

    @extend_schema(
        operation_id="revoke_token",
        summary="Revoke a token",
        tags=TAGS,
        responses={200: TokenSerializer, **error_responses(401, 403, 404, 429)},
    )
    def delete(self, _request: Request, token_id: str) -> Response:
        """Revoke a token permanently. Its next request gets 401; work that it has begun runs to its end."""
        tokens.require_key(self.caller.api_key)
        return Response(_show([tokens.revoke(self.caller.api_key, token_id=id_in_address(token_id, noun="token"))])[0])


def _show(rows: Iterable[ApiKey]) -> list[dict[str, Any]]:
    now, listed = timezone.now(), list(rows)
    spends = TokenSpend.objects.filter(token__in=[row.pk for row in listed])
    spent = dict(spends.values_list("token_id", "spent_micros"))
    return [
        {
            **show_credential(row, now=now),
            "spend_limit_micros": row.monthly_limit_micros,
            "spent_micros": spent.get(row.pk, 0),
        }
        for row in listed
    ]
