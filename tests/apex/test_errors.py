"""What callers are told when the chat endpoint fails, and whether it cost them anything."""

import pytest

from accounts.error_types import ErrorType
from accounts.errors import VoxsiteError
from apex import errors


def test_unknown_model_names_those_that_exist_and_repeats_no_long_text():
    error = errors.UnknownModel("x" * 1000, known=["apex-latest", "apex-mini"])
    assert (error.type, error.data["param"]) == (ErrorType.INVALID_FIELD, "model")
    assert error.message == f"There is no model '{'x' * 64}'. Models: apex-latest, apex-mini."


def test_busy_model_says_when_to_come_back():
    error = errors.UpstreamBusy(retry_after=7)
    assert error.http_status == 429
    assert error.headers["Retry-After"] == str(error.data["retry_after"])
    assert error.default_message != error.message


@pytest.mark.parametrize(
    ("error", "status", "error_type"),
    [
        (errors.NoUpstream(), 503, "not_configured"),
        (errors.UpstreamRefused(), 400, "refused_by_model"),
        (errors.UpstreamBroken(), 502, "upstream_failed"),
        (errors.UpstreamSilent(), 502, "upstream_timeout"),
        (errors.StreamBroke(), 502, "upstream_failed"),
        (errors.StreamStopped(), 503, "unavailable"),
        (errors.UpstreamBusy(retry_after=7), 429, "upstream_busy"),
    ],
)
def test_status_and_type_are_as_published(error: VoxsiteError, status, error_type):
    assert (error.http_status, error.type) == (status, error_type)


def test_caller_is_told_what_a_failure_costs():
    for error in (errors.UpstreamBroken(), errors.UpstreamSilent(), errors.UpstreamBusy(retry_after=7)):
        assert "Nothing was charged" in error.message
    for error in (errors.StreamBroke(), errors.StreamStopped()):
        assert "What came before it is charged" in error.message
