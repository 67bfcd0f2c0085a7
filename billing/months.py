"""Calendar months, in UTC. Pure."""

import calendar
from datetime import date, datetime


def month_of(moment: datetime) -> date:
    """Return the first day of the moment's month. moment: in UTC."""
    return moment.date().replace(day=1)


def start_of_month(moment: datetime) -> datetime:
    """Return the moment at which the moment's month began. moment: in UTC."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: date) -> date:
    """Return the first day of the month after this one."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def months_later(moment: datetime, count: int) -> datetime:
    """Return the same time `count` months later. 31 August plus 6 months is 28 or 29 February.

    count: may be negative.
    """
    years, month = divmod(moment.month - 1 + count, 12)
    year, month = moment.year + years, month + 1
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))
