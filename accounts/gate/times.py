"""Time format of the native API."""

from datetime import UTC, datetime


def show_time_or_null(moment: datetime | None) -> str | None:
    """Return a time as `show_time` does, None for none."""
    return show_time(moment) if moment is not None else None


def show_time(moment: datetime) -> str:
    """Return a time as VoxParse's published API writes it: `YYYY-MM-DD HH:MM:SS` in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
