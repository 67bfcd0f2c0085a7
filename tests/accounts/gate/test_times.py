from datetime import UTC, datetime, timedelta, timezone

import pytest

from accounts.gate import times


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (datetime(2026, 11, 28, 20, 46, 48, 999_999, tzinfo=UTC), "2026-11-28 20:46:48"),
        (datetime(2026, 11, 28, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=30))), "2026-11-27 19:32:03"),
    ],
)
def test_time_is_shown_in_utc_by_the_second(moment, shown):
    assert times.show_time(moment) == shown


def test_no_time_is_shown_as_null():
    assert times.show_time_or_null(None) is None
    assert times.show_time_or_null(datetime(2026, 11, 28, tzinfo=UTC)) == "2026-11-28 00:00:00"
