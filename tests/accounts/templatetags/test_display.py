from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.templatetags import display

NO_BREAK = "\N{NO-BREAK SPACE}"


def test_times_are_relative_for_a_week_and_carry_the_exact_one():
    assert "2 hours ago" in display.ago(timezone.now() - timedelta(hours=2)).replace(NO_BREAK, " ")
    moment = datetime(2026, 3, 5, 7, 8, 9, tzinfo=UTC)
    assert display.day(moment) == (
        '<time datetime="2026-03-05T07:08:09Z" title="2026-03-05 07:08:09 UTC">5 Mar 2026</time>'
    )


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19 Safari/604.1", "Safari on iPhone"),
        ("curl/8.0", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browsers_have_names(user_agent, name):
    assert display.browser_name(user_agent) == name


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (999, "999"), (1_234_567, "1,234,567")])
def test_counts_have_their_thousands_apart(count, shown):
    assert display.grouped(count) == shown


@pytest.mark.parametrize("show", [display.ago, display.day])
def test_nothing_is_a_dash(show):
    assert show(None) == "\N{EN DASH}"


def test_what_stands_between_backticks_is_code():
    assert display.with_code("Send `file` or `<b>`.") == "Send <code>file</code> or <code>&lt;b&gt;</code>."
    assert display.with_code("a < b") == "a &lt; b"
