"""Reads what is sent to Stripe's addresses, as strictly as Stripe does. Pure."""

from typing import Any

from billing.sandbox import shapes
from billing.sandbox.shapes import StripeObject

# What may be said of an object after it was made.
COMMON = {"metadata", "expand"}


class ApiError(Exception):
    """Stripe answers with an error; nothing has been changed."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "invalid_request_error", code: str = "", param: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": kind, "message": message}
        self.error |= {"code": code} if code else {}
        self.error |= {"param": param} if param else {}


def only(params: StripeObject, known: set[str], *, prefix: str = "") -> None:
    for name in params:
        if name not in known:
            shown = f"{prefix}[{name}]" if prefix else name
            raise ApiError(f"Received unknown parameter: {shown}", code="parameter_unknown", param=shown)


def whole(text: Any, param: str) -> int:
    try:
        return int(text)
    except (TypeError, ValueError) as error:
        raise ApiError(f"Invalid integer: {text}", code="parameter_invalid_integer", param=param) from error


def payable(amount: int, currency: str) -> int:
    if currency != "usd":
        raise ApiError(f"The sandbox takes usd only, not {currency}.", param="currency")
    if amount < shapes.MIN_CENTS:
        raise ApiError("The amount must be at least $0.50 usd.", code="amount_too_small", param="amount")
    if amount > shapes.MAX_CENTS:
        raise ApiError("Amount must be no more than $999,999.99", code="amount_too_large", param="amount")
    return amount


def metadata_of(params: StripeObject) -> dict[str, str]:
    """Return the metadata: at most 50 keys of 40 characters, values of 500 (docs.stripe.com/api/metadata)."""
    metadata: dict[str, str] = params.get("metadata") or {}
    if len(metadata) > 50 or any(len(name) > 40 or len(value) > 500 for name, value in metadata.items()):
        raise ApiError(
            "Metadata has at most 50 keys of up to 40 characters, with values of up to 500.", param="metadata"
        )
    return metadata


def flag(text: str | None) -> bool:
    return text == "true"


def typed(value: Any) -> Any:
    """Return true and false as such, all the way down."""
    if isinstance(value, dict):
        return {name: typed(part) for name, part in value.items()}
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
