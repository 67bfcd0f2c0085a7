from datetime import UTC, date, datetime

import pytest

from billing import months


@pytest.mark.parametrize(
    ("moment", "count", "later"),
    [
        (datetime(2026, 3, 15, 8, 30, tzinfo=UTC), 6, datetime(2026, 9, 15, 8, 30, tzinfo=UTC)),
        (datetime(2026, 8, 31, tzinfo=UTC), 6, datetime(2027, 2, 28, tzinfo=UTC)),
        (datetime(2027, 8, 31, tzinfo=UTC), 6, datetime(2028, 2, 29, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), 1, datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 31, tzinfo=UTC), -2, datetime(2025, 11, 30, tzinfo=UTC)),
        (datetime(2026, 12, 31, tzinfo=UTC), 12, datetime(2027, 12, 31, tzinfo=UTC)),
    ],
)
def test_months_later(moment: datetime, count: int, later: datetime) -> None:
    assert months.months_later(moment, count) == later


def test_month_and_the_next() -> None:
    assert months.month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == date(2026, 12, 1)
    assert months.next_month(date(2026, 12, 1)) == date(2027, 1, 1)
    assert months.next_month(date(2026, 1, 1)) == date(2026, 2, 1)
