"""Billing for programs: `GET /v1/balance` and `GET /billing/products`, in the native shape (CONTRACTS, "native")."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.gate.native_errors import NativeGateView, error_responses
from accounts.gate.times import show_time
from billing import pricing, statements


class TopUpSerializer(serializers.Serializer[statements.TopUp]):
    """A payment of the past."""

    amount_cents = serializers.IntegerField()
    bonus_cents = serializers.IntegerField()
    created_at = serializers.CharField(help_text="YYYY-MM-DD HH:MM:SS, UTC")


class BalanceSerializer(serializers.Serializer[statements.Balance]):
    """What an organization has."""

    balance_cents = serializers.IntegerField(help_text="What can be spent now, rounded down to whole cents")
    balance_dollars = serializers.CharField(help_text="The same in dollars, two places")
    expired = serializers.BooleanField()
    recent_topups = TopUpSerializer(many=True)
    balance_micros = serializers.IntegerField(help_text="All money in micro-dollars, held money included")
    held_micros = serializers.IntegerField(help_text="Set aside for work under way, in micro-dollars")
    available_micros = serializers.IntegerField(help_text="balance_micros less held_micros")
    held_cents = serializers.IntegerField(help_text="held_micros, rounded up to whole cents")
    expires_at = serializers.CharField(allow_null=True, help_text="YYYY-MM-DD HH:MM:SS, UTC")


class ProductSerializer(serializers.Serializer[dict[str, object]]):
    """An amount that can be topped up."""

    amount_cents = serializers.IntegerField()
    amount_dollars = serializers.CharField()
    bonus_cents = serializers.IntegerField()
    bonus_dollars = serializers.CharField()
    total_credit_cents = serializers.IntegerField()
    total_credit_dollars = serializers.CharField()


class ProductsSerializer(serializers.Serializer[dict[str, object]]):
    """Everything that can be topped up."""

    products = ProductSerializer(many=True)
    currency = serializers.CharField()
    note = serializers.CharField()


class BalanceView(NativeGateView):
    """What the key's organization has."""

    @extend_schema(
        operation_id="get_balance",
        summary="Get the balance",
        tags=["Billing"],
        responses={200: BalanceSerializer, **error_responses(401, 403, 429)},
    )
    def get(self, _request: Request) -> Response:
        """Return what can be spent now, what is held for work under way, and the last top-ups."""
        return Response(show_balance(statements.balance(self.caller.organization)))


class ProductsView(NativeGateView):
    """What can be topped up."""

    needs_key = False

    @extend_schema(
        operation_id="list_products", summary="List top-ups", tags=["Billing"], responses=ProductsSerializer, auth=[]
    )
    def get(self, _request: Request) -> Response:
        """Return the amounts that can be topped up and the bonus that each brings. Needs no key."""
        return Response(pricing.products_document())


def show_balance(balance: statements.Balance) -> dict[str, object]:
    """Return the wire form: the seed's fields in its order, then ours."""
    return {
        "balance_cents": balance.balance_cents,
        "balance_dollars": balance.balance_dollars,
        "expired": balance.is_expired,
        "recent_topups": [
            {
                "amount_cents": topup.amount_cents,
                "bonus_cents": topup.bonus_cents,
                "created_at": show_time(topup.created_at),
            }
            for topup in balance.recent_topups
        ],
        "balance_micros": balance.balance_micros,
        "held_micros": balance.held_micros,
        "available_micros": balance.available_micros,
        "held_cents": balance.held_cents,
        "expires_at": show_time(balance.expires_at) if balance.expires_at else None,
    }
