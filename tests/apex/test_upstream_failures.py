import pytest

from apex.errors import UpstreamBroken, UpstreamBusy, UpstreamSilent
from apex.upstream_failures import MAX_RETRY_DELAY_SECONDS, UpstreamAttemptFailed, most_helpful

BROKEN, SILENT, BUSY = UpstreamBroken(), UpstreamSilent(), UpstreamBusy(retry_after=7)


def failed(error, **fields):
    return UpstreamAttemptFailed(error, reason="test", **fields)


@pytest.mark.parametrize(
    ("failure", "may_be_repeated"),
    [
        (failed(BROKEN), True),
        (failed(BUSY, retry_delay_seconds=MAX_RETRY_DELAY_SECONDS), True),
        (failed(BUSY, retry_delay_seconds=MAX_RETRY_DELAY_SECONDS + 0.1), False),
        (failed(SILENT), False),
    ],
)
def test_failure_decides_about_a_second_attempt(failure, may_be_repeated):
    assert failure.may_be_repeated is may_be_repeated


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([BROKEN], BROKEN),
        ([BUSY, BROKEN], BUSY),
        ([BROKEN, SILENT], SILENT),
        ([SILENT, BUSY, BROKEN], BUSY),
    ],
)
def test_client_is_told_what_helps_most(errors, told):
    assert most_helpful([failed(error) for error in errors]) is told
