"""The native API of billing: `/v1/balance`, `/v1/usage`, `/billing/products`."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import InvalidField, MissingField, UnknownField
from accounts.gate.native import NativeGateView, error_responses
from accounts.gate.times import show_time, show_time_or_null
from billing import money, pricing, statements, usage

USAGE_FIELDS = ["from", "to", "group_by", "key_id", "model", "kind", "tag", "tag_value"]
KINDS = [*usage.KINDS, usage.OTHER]
# The value of key_id for work without a key.
WITHOUT_KEY = "none"
MAX_USAGE_DAYS = 366


class TopUpSerializer(serializers.Serializer[statements.RecentTopUp]):
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


class AmountsSerializer(serializers.Serializer[usage.Amounts]):
    """What some charges come to."""

    requests = serializers.IntegerField(help_text="How many charges there were")
    cost_micros = serializers.IntegerField(help_text="What they cost, in micro-dollars, exactly")
    cost_dollars = serializers.CharField(help_text="The same in dollars, six places")
    audio_seconds = serializers.FloatField(help_text="Length of what was charged")
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()


class UsageLineSerializer(AmountsSerializer):
    """What the charges come to that are alike in every group that was asked for."""

    day = serializers.CharField(required=False, help_text="YYYY-MM-DD, if grouped by day")
    model = serializers.CharField(required=False, help_text="If grouped by model")
    key_id = serializers.CharField(required=False, allow_null=True, help_text="If grouped by key; null: the browser")
    key_name = serializers.CharField(required=False, help_text="If grouped by key")
    key_prefix = serializers.CharField(required=False, help_text="If grouped by key: how the key begins")
    tag_value = serializers.CharField(
        required=False, allow_null=True, help_text="If grouped by tag: the value of the tag; null: charges without it"
    )
    kind = serializers.ChoiceField(choices=KINDS, required=False, help_text="If grouped by kind")


# Built by a function, because a class cannot have a field named `from`.
USAGE_SCHEMA = inline_serializer(
    "Usage",
    {
        "from": serializers.CharField(help_text="First day, YYYY-MM-DD, UTC"),
        "to": serializers.CharField(help_text="Last day, included"),
        "group_by": serializers.CharField(),
        "usage": UsageLineSerializer(many=True),
        "total": AmountsSerializer(),
    },
)


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


class UsageView(NativeGateView):
    """What the key's organization was charged."""

    @extend_schema(
        operation_id="get_usage",
        summary="Get usage",
        tags=["Billing"],
        parameters=[
            OpenApiParameter(
                "from",
                OpenApiTypes.DATE,
                description="First day, UTC (default: the first of the month). "
                f"With `to`, at most {MAX_USAGE_DAYS} days.",
            ),
            OpenApiParameter("to", OpenApiTypes.DATE, description="Last day, included, UTC (default: today)."),
            OpenApiParameter(
                "group_by",
                OpenApiTypes.STR,
                description="One line for each: day (default), model, key, tag, kind, or several between commas.",
            ),
            OpenApiParameter("key_id", OpenApiTypes.STR, description="Only this key; none: only without a key."),
            OpenApiParameter("model", OpenApiTypes.STR, description="Only this model."),
            OpenApiParameter("kind", enum=KINDS, description="Only this kind of work."),
            OpenApiParameter("tag", OpenApiTypes.STR, description="Name of the tag of group_by=tag and tag_value."),
            OpenApiParameter("tag_value", OpenApiTypes.STR, description="Only charges whose tag has this value."),
        ],
        responses={200: USAGE_SCHEMA, **error_responses(400, 401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        """Return what work cost from one day to another, for each day, model, key, tag or kind of work, and in all.

        Tags are the pairs of `metadata` that jobs and chat requests had, up to 16, if their values have 1 to 128
        characters; of Deepgram's API, `extra` and `tag`. A charge without the tag has the value null, so the lines
        always add up to the total. Tags are kept for 400 days, and deleted earlier with a job that you delete.

        Work that is still running is not in it, and neither is work that cost nothing. A job that was canceled or
        failed is in it with the text that its events had shown.
        """
        since, until, group_by, only = read_usage(request.query_params, today=timezone.now().astimezone(UTC).date())
        found = usage.lines(self.caller.organization, since=since, until=until, group_by=group_by, only=only)
        return Response(show_usage(found, since=since, until=until, group_by=group_by))


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
    """Return the JSON body: VoxParse's fields in its order, then additional ones."""
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
        "expires_at": show_time_or_null(balance.expires_at),
    }


def read_usage(query: Mapping[str, str], *, today: date) -> tuple[date, date, tuple[str, ...], usage.Only]:
    """Return first day, last day, groups and which charges count. Raises UnknownField, MissingField, InvalidField."""
    for name, value in query.items():
        if name not in USAGE_FIELDS:
            raise UnknownField(name, known=USAGE_FIELDS)
        if "\0" in value:
            raise InvalidField(name, f"'{name}' has a NUL character in it.")
    until = _read_day(query, "to") or today
    since = _read_day(query, "from") or until.replace(day=1)
    if since > until:
        raise InvalidField("from", "'from' must not be after 'to'.")
    if (until - since).days >= MAX_USAGE_DAYS:
        raise InvalidField("from", f"Ask for at most {MAX_USAGE_DAYS} days at once.")
    group_by = tuple(dict.fromkeys(part.strip() for part in (query.get("group_by") or "day").split(",")))
    if not set(group_by) <= set(usage.GROUPS):
        raise InvalidField("group_by", f"'group_by' is one or more of {', '.join(usage.GROUPS)}, between commas.")
    kind = query.get("kind", "")
    if kind and kind not in KINDS:
        raise InvalidField("kind", f"'kind' is one of {', '.join(KINDS)}.")
    # A tag never has an empty value.
    tag, tag_value = query.get("tag", ""), query.get("tag_value") or None
    if not tag and ("tag" in group_by or tag_value is not None):
        raise MissingField("tag", "Say which tag by its name in 'tag'.")
    key_id = query.get("key_id", "")
    return (
        since,
        until,
        group_by,
        usage.Only(
            api_key_id=_read_key_id(key_id) if key_id not in ("", WITHOUT_KEY) else None,
            is_without_key=key_id == WITHOUT_KEY,
            model=query.get("model", ""),
            kind=kind,
            tag=tag,
            tag_value=tag_value,
        ),
    )


def show_usage(found: Sequence[usage.Line], *, since: date, until: date, group_by: Sequence[str]) -> dict[str, object]:
    """Return the JSON body. By day alone, days without charges are lines too."""
    if tuple(group_by) == ("day",):
        charged = {line.group["day"]: line.amounts for line in found}
        days = [since + timedelta(days=number) for number in range((until - since).days + 1)]
        found = [usage.Line({"day": day}, charged.get(day, usage.Amounts())) for day in days]
    return {
        "from": since.isoformat(),
        "to": until.isoformat(),
        "group_by": ",".join(group_by),
        "usage": [_show_line(line) for line in found],
        "total": _show_amounts(sum((line.amounts for line in found), usage.Amounts())),
    }


def _read_key_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise InvalidField("key_id", f"'key_id' is the id of a key, or {WITHOUT_KEY}.") from None


def _read_day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        # strptime accepts only this form; fromisoformat would also accept 20261101 and 2026-W45-1.
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidField(name, f"'{name}' is a day, written YYYY-MM-DD.") from None
    if not usage.MIN_DAY <= day <= usage.MAX_DAY:
        raise InvalidField(name, f"'{name}' is a day from {usage.MIN_DAY} to {usage.MAX_DAY}.")
    return day


def _show_amounts(amounts: usage.Amounts) -> dict[str, object]:
    return {
        "requests": amounts.charges_count,
        "cost_micros": amounts.cost_micros,
        "cost_dollars": money.dollars_text(amounts.cost_micros, places=6),
        "audio_seconds": amounts.audio_ms / 1000,
        "prompt_tokens": amounts.prompt_tokens,
        "completion_tokens": amounts.completion_tokens,
    }


def _show_line(line: usage.Line) -> dict[str, object]:
    shown: dict[str, object] = {}
    for group, value in line.group.items():
        if group == "key":
            shown |= {
                "key_id": str(value.key_id) if value.key_id else None,
                "key_name": value.name,
                "key_prefix": value.prefix,
            }
        elif group == "day":
            shown["day"] = value.isoformat()
        else:
            shown["tag_value" if group == "tag" else group] = value
    return shown | _show_amounts(line.amounts)
