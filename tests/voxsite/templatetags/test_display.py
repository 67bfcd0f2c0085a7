"""How values look to people."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from voxsite.templatetags import display

MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("micros", "exact", "signed", "cents"),
    [
        (0, "$0.00", "$0.00", "$0.00"),
        (1, "$0.000001", "+$0.000001", "$0.00"),
        (998_333, "$0.998333", "+$0.998333", "$0.99"),
        (-1_333, f"{MINUS}$0.001333", f"{MINUS}$0.001333", f"{MINUS}$0.01"),
        (1_234_500_000, "$1,234.50", "+$1,234.50", "$1,234.50"),
    ],
)
def test_money(micros, exact, signed, cents):
    assert display.money(micros) == exact
    assert display.signed_money(micros) == signed
    assert display.cents(micros) == cents


@pytest.mark.parametrize(
    ("ms", "clock", "length"),
    [
        (0, "0:00", "0 s"),
        (999, "0:00", "0 s"),
        (7_400, "0:07", "7 s"),
        (60_000, "1:00", "1 min"),
        (250_000, "4:10", "4 min 10 s"),
        (3_600_000, "1:00:00", "1 h"),
        (12_034_000, "3:20:34", "3 h 20 min"),
    ],
)
def test_lengths(ms, clock, length):
    assert display.clock(ms) == clock
    assert display.length_of(ms).replace(NO_BREAK, " ") == length


@pytest.mark.parametrize("show", [display.money, display.clock, display.length_of, display.ago, display.day])
def test_nothing_is_a_dash(show):
    assert show(None) == "\N{EN DASH}"


def test_times_are_relative_for_a_week_and_carry_the_exact_one():
    assert "2 hours ago" in display.ago(timezone.now() - timedelta(hours=2)).replace(NO_BREAK, " ")
    moment = datetime(2026, 3, 5, 7, 8, 9, tzinfo=UTC)
    assert display.day(moment) == (
        '<time datetime="2026-03-05T07:08:09Z" title="2026-03-05 07:08:09 UTC">5 Mar 2026</time>'
    )


def test_ninth_speaker_has_the_first_colour_again():
    assert [display.speaker_class(position) for position in (0, 7, 8)] == ["speaker-1", "speaker-8", "speaker-1"]


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19 Safari/604.1", "Safari on iPhone"),
        ("curl/8.0", "Another program"),
        ("", "Another program"),
    ],
)
def test_browsers_have_names(user_agent, name):
    assert display.browser_name(user_agent) == name


@pytest.mark.parametrize(("code", "name"), [("en", "English"), ("xx", "xx")])
def test_languages_have_names(code, name):
    assert display.language_name(code) == name


@pytest.mark.parametrize(("cents", "shown"), [(20_000, "$200.00"), (501, "$5.01"), (0, "$0.00"), (None, "\N{EN DASH}")])
def test_amounts_that_are_kept_in_cents(cents, shown):
    assert display.cents_money(cents) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (999, "999"), (1_234_567, "1,234,567")])
def test_counts_have_their_thousands_apart(count, shown):
    assert display.grouped(count) == shown
