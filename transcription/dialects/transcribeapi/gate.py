"""What all views of TranscribeAPI's addresses have in common: its errors, and its rates."""

from typing import Any, ClassVar

from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from accounts.errors import BadRequest, RateLimited, TooLarge, VoxsiteError
from accounts.gate import limits
from accounts.gate.views import GateView, UnknownAddress
from billing import topups
from transcription.dialects.json_parsing import JsonParser
from transcription.dialects.transcribeapi import errors
from transcription.dialects.transcribeapi.errors import Refused


class TranscribeApiGateView(GateView):
    """A view whose errors have TranscribeAPI's shape, codes and statuses."""

    # What a field is called that is wrong.
    invalid_code: str = errors.OPTIONS
    # Whether POST orders a transcription, and so counts against the rates of the plan.
    orders: ClassVar[bool] = False

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return errors.show_error(error, request_id=request_id, invalid=self.invalid_code)

    def http_status_of(self, error: VoxsiteError) -> int:
        return errors.status_of(error)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.orders and request.method == "POST":
            self._spend()

    def _spend(self) -> None:
        """Count an order. Raises RateLimited, with the plan and its limit."""
        plan = "paid" if topups.has_paid(self.caller.organization) else "free"
        try:
            self.allowance = limits.spend(self.caller.organization, scope=f"transcribeapi_{plan}")
        except RateLimited as error:
            error.data |= {"plan": plan, "max_requests": int(error.headers["x-ratelimit-limit-requests"])}
            raise


class TranscribeApiUnknownAddress(TranscribeApiGateView, UnknownAddress):
    """The catch-all under `/transcribeapi`."""


class LargeJsonParser(JsonParser):
    """Reads the manifest of a job: 10,000 files with signed addresses of 1,500 bytes each."""

    max_bytes = 16 * 1024**2


def json_of(request: Request, *, too_large: str = "invalid_json") -> dict[str, Any]:
    """Return the JSON object of a request. too_large: the code for a body that is too large. Raises Refused."""
    try:
        body = request.data
    except ParseError as error:
        raise Refused("invalid_json", "The request body is not valid JSON.") from error
    except TooLarge as error:
        raise Refused(too_large, error.message) from error
    except BadRequest as error:
        raise Refused("invalid_json", error.message) from error
    if not isinstance(body, dict):
        raise Refused("invalid_json", "Send a JSON object, with Content-Type: application/json.")
    return body
