"""The error shape of our own API: `{"error": {"message", "code": <HTTP status>, "type", "request_id", ...}}`.

`message` and `code` are those of VoxParse's published API, and we added the rest. It lies in the gate because the
addresses of billing use it too.
"""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from accounts.errors import VoxsiteError
from accounts.gate.views import GateView, UnknownAddress, data_fields


def native_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error response."""
    return {
        "error": {
            "message": error.message,
            "code": error.http_status,
            "type": error.type,
            "request_id": request_id,
            **error.data,
        }
    }


class NativeGateView(GateView):
    """A view whose errors have the native shape."""

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return native_error(error, request_id=request_id)


class NativeUnknownAddress(NativeGateView, UnknownAddress):
    """The catch-all under `/v1`."""


ERROR_SCHEMA = inline_serializer(
    "Error",
    {
        "error": inline_serializer(
            "ErrorBody",
            {
                "message": serializers.CharField(),
                "code": serializers.IntegerField(help_text="The HTTP status."),
                "type": serializers.CharField(help_text="Stable: check this in programs."),
                "request_id": serializers.CharField(),
                **data_fields(),
            },
        )
    },
)


def error_responses(*statuses: int) -> dict[int, Any]:
    """Return the error responses of an address, for its OpenAPI description."""
    return dict.fromkeys(statuses, ERROR_SCHEMA)
