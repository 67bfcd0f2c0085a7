"""The native API of automatic top-up: `/v1/automatic-topup`."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import InvalidField, MissingField
from accounts.gate import json_body
from accounts.gate.native import NativeGateView, error_responses
from accounts.gate.times import show_time_or_null
from accounts.models import Organization
from billing import automatic_topups, pricing
from billing.models.payments import SavedCard

TAGS = ["Billing"]
# The largest whole number of a column. Bounds of amounts are checked below, and say why.
MAX_CENTS = 2**31 - 1


def _cents(help_text: str, **kwargs: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=MAX_CENTS, help_text=help_text, **kwargs)


class ChangeSerializer(serializers.Serializer[dict[str, Any]]):
    """When how much is charged."""

    threshold_cents = _cents("It is topped up when less than this can be spent.")
    amount_cents = _cents(
        "What is charged each time, before the bonus. Either this or target_cents.", required=False, allow_null=True
    )
    target_cents = _cents(
        "What can be spent after it: as much is charged as is missing, less when the bonus covers a part. At least "
        f"{pricing.MIN_TOPUP_CENTS} above threshold_cents, at most {pricing.MAX_TOPUP_CENTS}.",
        required=False,
        allow_null=True,
    )
    monthly_cap_cents = _cents(
        "The most that is charged in a calendar month (UTC), by programs too. With a target, the rest of the cap is "
        f"charged when it is less than what is missing, but never less than {pricing.MIN_TOPUP_CENTS}."
    )


class AutomaticTopUpSerializer(serializers.Serializer[dict[str, Any]]):
    """Automatic top-up as it is set, and what it would charge."""

    is_on = serializers.BooleanField()
    threshold_cents = serializers.IntegerField()
    amount_cents = serializers.IntegerField(allow_null=True, help_text="null: there is a target")
    target_cents = serializers.IntegerField(allow_null=True, help_text="null: there is an amount")
    monthly_cap_cents = serializers.IntegerField()
    charged_this_month_cents = serializers.IntegerField(help_text="What counts toward the cap, open charges too")
    charge_at_threshold_cents = serializers.IntegerField(help_text="What a charge just at the threshold comes to")
    bonus_at_threshold_cents = serializers.IntegerField(help_text="The bonus that it brings")
    has_card = serializers.BooleanField(help_text="Whether there is a saved card to be charged")
    waits_until = serializers.CharField(
        allow_null=True, help_text="Nothing is charged before, after a decline or a reached cap: UTC"
    )
    turned_off_reason = serializers.CharField(help_text="Why the site turned it off; empty if it did not")


class AutomaticTopUpView(NativeGateView):
    """Automatic top-up of the caller's organization."""

    @extend_schema(
        operation_id="get_automatic_topup",
        summary="Get automatic top-up",
        tags=TAGS,
        responses={200: AutomaticTopUpSerializer, **error_responses(401, 403, 429)},
    )
    def get(self, _request: Request) -> Response:
        """Return when the saved card is charged, and how much."""
        return Response(show(self.caller.organization))

    @extend_schema(
        operation_id="set_automatic_topup",
        summary="Turn automatic top-up on",
        tags=TAGS,
        request=ChangeSerializer,
        responses={200: AutomaticTopUpSerializer, **error_responses(400, 401, 403, 409, 429)},
    )
    def put(self, request: Request) -> Response:
        """Turn automatic top-up on, by an amount or to a target, or change it. It begins to count declines again.

        It needs a saved card: a person saves one on the billing page. The key needs the scope `admin`.
        """
        fields = json_body.read(ChangeSerializer, request.data)
        amount_cents, target_cents = fields.get("amount_cents"), fields.get("target_cents")
        bounds = {name: fields[name] for name in ("threshold_cents", "monthly_cap_cents")}
        organization = self.caller.organization
        if amount_cents is not None and target_cents is not None:
            raise InvalidField("target_cents", "Send either amount_cents or target_cents.")
        if target_cents is not None:
            automatic_topups.turn_on_to_target(organization, person=None, target_cents=target_cents, **bounds)
        elif amount_cents is not None:
            automatic_topups.turn_on(organization, person=None, amount_cents=amount_cents, **bounds)
        else:
            raise MissingField("amount_cents", "Send amount_cents or target_cents.")
        return Response(show(organization))

    @extend_schema(
        operation_id="delete_automatic_topup",
        summary="Turn automatic top-up off",
        tags=TAGS,
        responses={200: AutomaticTopUpSerializer, **error_responses(401, 403, 429)},
    )
    def delete(self, _request: Request) -> Response:
        """Turn automatic top-up off. A charge in progress is still finished, and the card stays saved."""
        automatic_topups.turn_off(self.caller.organization)
        return Response(show(self.caller.organization))


def show(organization: Organization) -> dict[str, Any]:
    """Return the JSON body."""
    now = timezone.now()
    found = automatic_topups.settings_of(organization)
    charge = automatic_topups.charge_at_threshold(found)
    return {
        "is_on": found.is_on,
        "threshold_cents": found.threshold_cents,
        "amount_cents": found.amount_cents if found.target_cents is None else None,
        "target_cents": found.target_cents,
        "monthly_cap_cents": found.monthly_cap_cents,
        "charged_this_month_cents": automatic_topups.this_month_cents(organization, now=now),
        "charge_at_threshold_cents": charge.amount_cents,
        "bonus_at_threshold_cents": charge.bonus_cents,
        "has_card": SavedCard.objects.of(organization).exists(),
        "waits_until": show_time_or_null(found.retry_at if found.is_waiting else None),
        "turned_off_reason": found.turned_off_reason,
    }
