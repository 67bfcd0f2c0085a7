"""What the APIs of keys, tokens and limits share: fields, ids in addresses, and how the row of a key is shown."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rest_framework import serializers

from accounts.errors import NotFound
from accounts.gate.times import show_time, show_time_or_null
from accounts.models import ApiKey, Scope

# As the page of keys takes them: $1,000,000.
MAX_LIMIT_MICROS = 10**12


class LimitField(serializers.IntegerField):
    """A monthly limit in micro-dollars."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            min_value=0,
            max_value=MAX_LIMIT_MICROS,
            allow_null=True,
            help_text="What the key may spend in a calendar month (UTC), in micro-dollars. 0 blocks all spending, null "
            "is no limit.",
            **kwargs,
        )


class CredentialSerializer(serializers.Serializer[dict[str, Any]]):
    """A key or a token, without its secret."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="How it begins")
    scopes = serializers.ListField(child=serializers.CharField())
    status = serializers.CharField(help_text="live, expired or revoked")
    created_at = serializers.CharField(help_text="YYYY-MM-DD HH:MM:SS, UTC, as all times here")
    last_used_at = serializers.CharField(allow_null=True, help_text="To the minute")
    expires_at = serializers.CharField(allow_null=True)


def scopes_field(choices: Iterable[Scope], **kwargs: Any) -> serializers.ListField:
    """Return the field for one or more of these scopes."""
    return serializers.ListField(
        child=serializers.ChoiceField(choices=[scope.value for scope in choices]), allow_empty=False, **kwargs
    )


def id_in_address(text: str, *, noun: str) -> uuid.UUID:
    """Return the id in an address. Raises NotFound for a text that is none, as for the id of a stranger's row."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"There is no such {noun}.") from None


def show_credential(row: ApiKey, *, now: datetime) -> dict[str, Any]:
    """Return the fields of CredentialSerializer."""
    return {
        "id": str(row.pk),
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes.split(),
        "status": "revoked" if row.revoked_at else "live" if row.is_live(now=now) else "expired",
        "created_at": show_time(row.created_at),
        "last_used_at": show_time_or_null(row.last_used_at),
        "expires_at": show_time_or_null(row.expires_at),
    }
