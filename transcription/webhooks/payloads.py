"""The body of a webhook, as Standard Webhooks recommends it: type, timestamp, data. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def envelope(*, event: str, at: datetime, organization_id: object, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body around the data of an event.

    at: when it happened. organization_id: of the receiver. All organizations share the keys that sign, so a receiver
    must be able to tell its own webhooks from those that another customer got and passed on.
    """
    return {
        "type": event,
        "timestamp": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "organization_id": str(organization_id),
        "data": dict(data),
    }
