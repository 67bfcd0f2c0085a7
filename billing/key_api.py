"""The native API of keys: `/v1/keys`, for keys with the scope `admin`."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import api_keys
from accounts.errors import InvalidField, refuse_unknown
from accounts.gate import json_body
from accounts.gate.native import NativeGateView, error_responses
from accounts.gate.times import show_time_or_null
from accounts.models import ApiKey, Organization, Scope
from billing import key_management, limits
from billing.credential_api import CredentialSerializer, LimitField, id_in_address, scopes_field, show_credential

TAGS = ["Keys"]
STATUSES = ("live", "all")
# A list of all keys, revoked ones too, ends here.
MAX_LISTED = 200


class CreateKeySerializer(serializers.Serializer[dict[str, Any]]):
    """A new key."""

    name = serializers.CharField(max_length=80)
    scopes = scopes_field(Scope, help_text="What the key may do: only scopes that your own key has.")
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="UTC unless it has an offset (default: when your own key expires)."
    )
    monthly_limit_micros = LimitField(required=False)


class ChangeKeySerializer(serializers.Serializer[dict[str, Any]]):
    """What changes of a key."""

    name = serializers.CharField(required=False, max_length=80)
    scopes = scopes_field(Scope, required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    monthly_limit_micros = LimitField(required=False)


class RotateKeySerializer(serializers.Serializer[dict[str, Any]]):
    """How a key gets its new secret."""

    overlap_seconds = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=api_keys.MAX_OVERLAP // timedelta(seconds=1),
        help_text="How long the old secret works beside the new one (default 0: it ends at once).",
    )


class KeySerializer(CredentialSerializer):
    """A key, without its secret."""

    created_by = serializers.CharField(
        allow_null=True, help_text="Email address of the person who made it, or who made the key that made it"
    )
    previous_secret_until = serializers.CharField(
        allow_null=True, help_text="Until when the secret of before the last rotation works"
    )
    monthly_limit_micros = serializers.IntegerField(allow_null=True)
    spent_micros = serializers.IntegerField(help_text="Charges and holds of this month, in micro-dollars")


class NewKeySerializer(KeySerializer):
    """A key with its secret, which is shown this once."""

    secret = serializers.CharField(help_text="The key itself. It is not stored and cannot be shown again.")


class KeysSerializer(serializers.Serializer[dict[str, Any]]):
    """Keys, the newest first."""

    keys = KeySerializer(many=True)


class KeysView(NativeGateView):
    """The keys of the caller's organization."""

    @extend_schema(
        operation_id="list_keys",
        summary="List keys",
        tags=TAGS,
        parameters=[OpenApiParameter("status", enum=STATUSES, description="live (default), or all: up to 200.")],
        responses={200: KeysSerializer, **error_responses(400, 401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        """Return the keys of your organization with what each has spent this month."""
        refuse_unknown(request.query_params, known=["status"])
        status = request.query_params.get("status", "live")
        if status not in STATUSES:
            raise InvalidField("status", f"'status' is one of {', '.join(STATUSES)}.")
        organization = self.caller.organization
        rows = ApiKey.objects.of(organization).select_related("created_by").order_by("-created_at")
        if status == "live":
            rows = rows.live(now=timezone.now())
        return Response({"keys": show_keys(organization, rows[:MAX_LISTED])})

    @extend_schema(
        operation_id="create_key",
        summary="Create a key",
        tags=TAGS,
        request=CreateKeySerializer,
        responses={201: NewKeySerializer, **error_responses(400, 401, 403, 409, 429)},
    )
    def post(self, request: Request) -> Response:
        """Create a key. Its secret is in this response and nowhere else.

        A key cannot give more than it has: scopes, expiry, monthly limit. What a key with a monthly limit gives to a
        new key is taken from its own limit.
        """
        fields = json_body.read(CreateKeySerializer, request.data)
        row, secret = key_management.create(
            self.caller.api_key,
            name=fields["name"],
            scopes=fields["scopes"],
            expires_at=fields.get("expires_at"),
            monthly_limit_micros=fields.get("monthly_limit_micros"),
        )
        return Response({**show_key(row), "secret": secret}, status=201)


class KeyView(NativeGateView):
    """One key of the caller's organization."""

    @extend_schema(
        operation_id="get_key",
        summary="Get a key",
        tags=TAGS,
        responses={200: KeySerializer, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, key_id: str) -> Response:
        """Return a key with what it has spent this month."""
        return Response(
            show_key(api_keys.of_organization(self.caller.organization, key_id=id_in_address(key_id, noun="key")))
        )

    @extend_schema(
        operation_id="change_key",
        summary="Change a key",
        tags=TAGS,
        request=ChangeKeySerializer,
        responses={200: KeySerializer, **error_responses(400, 401, 403, 404, 409, 429)},
    )
    def patch(self, request: Request, key_id: str) -> Response:
        """Change name, scopes, expiry or monthly limit. Fields that are not sent stay as they are.

        Taking away is always allowed. A key gives no more than it has, and cannot raise its own limit. The change
        counts from the next request on.
        """
        row = api_keys.of_organization(self.caller.organization, key_id=id_in_address(key_id, noun="key"))
        fields = json_body.read(ChangeKeySerializer, request.data)
        return Response(show_key(key_management.change(self.caller.api_key, key_id=row.pk, changes=fields)))

    @extend_schema(
        operation_id="revoke_key",
        summary="Revoke a key",
        tags=TAGS,
        responses={200: KeySerializer, **error_responses(401, 403, 404, 429)},
    )
    def delete(self, request: Request, key_id: str) -> Response:
        """Revoke a key permanently. Its next request gets 401. A key can revoke itself."""
        return Response(show_key(api_keys.revoke(self.caller.organization, key_id=id_in_address(key_id, noun="key"))))


class RotateKeyView(NativeGateView):
    """A new secret for a key."""

    @extend_schema(
        operation_id="rotate_key",
        summary="Rotate a key",
        tags=TAGS,
        request=RotateKeySerializer,
        responses={200: NewKeySerializer, **error_responses(400, 401, 403, 404, 409, 429)},
    )
    def post(self, request: Request, key_id: str) -> Response:
        """Give a key a new secret, which is in this response and nowhere else. Everything else of the key stays.

        The old secret ends at once, or after `overlap_seconds`; until then it cannot manage keys. Whoever rotates a key
        can use it, so your key needs all of its scopes. A key can rotate itself.
        """
        row = api_keys.of_organization(self.caller.organization, key_id=id_in_address(key_id, noun="key"))
        fields = json_body.read(RotateKeySerializer, request.data or {})
        row, secret = key_management.rotate(
            self.caller.api_key,
            key_id=row.pk,
            overlap=timedelta(seconds=fields.get("overlap_seconds", 0)),
        )
        return Response({**show_key(row), "secret": secret})


def show_key(row: ApiKey) -> dict[str, Any]:
    """Return a key as JSON."""
    return show_keys(row.organization, [row])[0]


def show_keys(organization: Organization, rows: Iterable[ApiKey]) -> list[dict[str, Any]]:
    """Return keys of an organization as JSON."""
    spent = limits.spent_by_keys(organization)
    return [_show(row, spent=spent) for row in rows]


def _show(row: ApiKey, *, spent: Mapping[uuid.UUID, int]) -> dict[str, Any]:
    now = timezone.now()
    has_previous = row.previous_until is not None and row.previous_until > now
    return {
        **show_credential(row, now=now),
        "created_by": row.created_by.shown_name if row.created_by else None,
        "previous_secret_until": show_time_or_null(row.previous_until if has_previous else None),
        "monthly_limit_micros": row.monthly_limit_micros,
        "spent_micros": spent.get(row.pk, 0),
    }
