"""The native API of monthly limits and their alerts: `/v1/limits`, `/v1/alerts`, for keys with the scope `admin`."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import api_keys
from accounts.gate import json_body
from accounts.gate.native import NativeGateView, error_responses
from accounts.gate.times import show_time, show_time_or_null
from accounts.models import ApiKey
from billing import key_management, ledger, limits, spend_alerts
from billing.credential_api import MAX_LIMIT_MICROS, LimitField
from billing.models import Wallet

TAGS = ["Limits"]
WHOSE = "The key; without it, or null, your whole organization."


class RaiseSerializer(serializers.Serializer[dict[str, Any]]):
    """A higher limit that ends by itself."""

    limit_micros = serializers.IntegerField(
        min_value=0, max_value=MAX_LIMIT_MICROS, help_text="At least the monthly limit, in micro-dollars"
    )
    until = serializers.DateTimeField(help_text="When the raise ends, within 366 days. UTC unless it has an offset.")


class SetLimitSerializer(serializers.Serializer[dict[str, Any]]):
    """A monthly limit. It replaces the one of before, with its raise."""

    key_id = serializers.UUIDField(required=False, allow_null=True, help_text=WHOSE)
    monthly_limit_micros = LimitField()
    temporary_raise = RaiseSerializer(
        required=False, allow_null=True, help_text="A higher limit for a time. Without it a raise of before ends."
    )


class LimitSerializer(serializers.Serializer[dict[str, Any]]):
    """A monthly limit and what is left of it."""

    key_id = serializers.UUIDField(allow_null=True, help_text="null: the whole organization")
    monthly_limit_micros = serializers.IntegerField(allow_null=True)
    raised_limit_micros = serializers.IntegerField(allow_null=True, help_text="The limit until raised_until")
    raised_until = serializers.CharField(allow_null=True, help_text="YYYY-MM-DD HH:MM:SS, UTC")
    spent_micros = serializers.IntegerField(help_text="Charges and holds of this month")
    left_micros = serializers.IntegerField(allow_null=True, help_text="Of the limit that counts now; null: no limit")
    resets_at = serializers.CharField(help_text="When the next month begins")


class LimitsSerializer(serializers.Serializer[dict[str, Any]]):
    """All limits."""

    organization = LimitSerializer()
    keys = LimitSerializer(many=True)


class SetAlertsSerializer(serializers.Serializer[dict[str, Any]]):
    """The alerts of one limit. They replace those of before."""

    key_id = serializers.UUIDField(required=False, allow_null=True, help_text=WHOSE)
    percents = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=100),
        max_length=spend_alerts.MAX_ALERTS,
        help_text="Parts of the monthly limit. Empty: no alerts.",
    )


class AlertsOfLimitSerializer(serializers.Serializer[dict[str, Any]]):
    """The alerts of one limit."""

    key_id = serializers.UUIDField(allow_null=True, help_text="null: the whole organization")
    percents = serializers.ListField(child=serializers.IntegerField())


class AlertsSerializer(serializers.Serializer[dict[str, Any]]):
    """All alerts."""

    organization = AlertsOfLimitSerializer()
    keys = AlertsOfLimitSerializer(many=True)


class LimitsView(NativeGateView):
    """Monthly limits of the organization and of its keys."""

    @extend_schema(
        operation_id="get_limits",
        summary="Get limits",
        tags=TAGS,
        responses={200: LimitsSerializer, **error_responses(401, 403, 429)},
    )
    def get(self, _request: Request) -> Response:
        """Return the monthly limits of your organization and of its live keys, and what is left of each."""
        organization = self.caller.organization
        spent = limits.spent_by_keys(organization)
        rows = ApiKey.objects.of(organization).live(now=timezone.now()).order_by("-created_at")
        return Response(
            {
                "organization": self._organization(),
                "keys": [_show(row, key_id=str(row.pk), spent_micros=spent.get(row.pk, 0)) for row in rows],
            }
        )

    @extend_schema(
        operation_id="set_limit",
        summary="Set a limit",
        tags=TAGS,
        request=SetLimitSerializer,
        responses={200: LimitSerializer, **error_responses(400, 401, 403, 404, 409, 429)},
    )
    def put(self, request: Request) -> Response:
        """Set the monthly limit of your organization or of a key, and raise it for a time if you like.

        It counts from the next request on. A key cannot raise its own limit, and a key with a limit raises another
        key's only by giving from its own.
        """
        fields = json_body.read(SetLimitSerializer, request.data)
        higher = fields.get("temporary_raise") or {}
        key = key_management.set_limit(
            self.caller.api_key,
            key_id=fields.get("key_id"),
            limit_micros=fields["monthly_limit_micros"],
            raised_micros=higher.get("limit_micros"),
            raised_until=higher.get("until"),
        )
        if key is None:
            return Response(self._organization())
        spent = limits.spent_by_keys(self.caller.organization)
        return Response(_show(key, key_id=str(key.pk), spent_micros=spent.get(key.pk, 0)))

    def _organization(self) -> dict[str, Any]:
        wallet = ledger.wallet_of(self.caller.organization)
        standing = limits.organization_standing(self.caller.organization)
        return _show(wallet, key_id=None, spent_micros=standing.spent_micros)


class AlertsView(NativeGateView):
    """Mails about parts of monthly limits that are spent."""

    @extend_schema(
        operation_id="get_alerts",
        summary="Get alerts",
        tags=TAGS,
        responses={200: AlertsSerializer, **error_responses(401, 403, 429)},
    )
    def get(self, _request: Request) -> Response:
        """Return the parts of monthly limits at which the owners of your organization get an email."""
        percents = spend_alerts.percents_of(self.caller.organization)
        return Response(
            {
                "organization": {"key_id": None, "percents": percents.get(None, [])},
                "keys": [{"key_id": str(key_id), "percents": found} for key_id, found in percents.items() if key_id],
            }
        )

    @extend_schema(
        operation_id="set_alerts",
        summary="Set alerts",
        tags=TAGS,
        request=SetAlertsSerializer,
        responses={200: AlertsOfLimitSerializer, **error_responses(400, 401, 403, 404, 429)},
    )
    def put(self, request: Request) -> Response:
        """Choose at which parts of a monthly limit owners get an email, each once a month.

        What was charged counts, not what is only held.
        """
        fields = json_body.read(SetAlertsSerializer, request.data)
        organization, key_id = self.caller.organization, fields.get("key_id")
        key = None if key_id is None else api_keys.of_organization(organization, key_id=key_id)
        percents = spend_alerts.set_percents(organization, api_key=key, percents=fields["percents"])
        return Response({"key_id": str(key.pk) if key else None, "percents": percents})


def _show(row: ApiKey | Wallet, *, key_id: str | None, spent_micros: int) -> dict[str, Any]:
    now = timezone.now()
    limit_micros = row.limit_at(now)
    is_raised = row.is_raised(now=now)
    return {
        "key_id": key_id,
        "monthly_limit_micros": row.monthly_limit_micros,
        "raised_limit_micros": row.raised_limit_micros if is_raised else None,
        "raised_until": show_time_or_null(row.raised_until if is_raised else None),
        "spent_micros": spent_micros,
        "left_micros": None if limit_micros is None else max(0, limit_micros - spent_micros),
        "resets_at": show_time(limits.resets_at(now)),
    }
