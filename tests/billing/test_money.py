from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import money

AMOUNTS = st.integers(min_value=-(10**15), max_value=10**15)


@pytest.mark.long
@given(AMOUNTS)
def test_cents_down_is_the_floor_and_up_the_ceiling(micros: int) -> None:
    exact = Decimal(micros) / money.MICROS_PER_CENT
    assert money.cents_down(micros) == int(exact.to_integral_value(ROUND_FLOOR))
    assert money.cents_up(micros) == -money.cents_down(-micros)


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=0, max_value=10**9))
def test_what_can_be_spent_and_what_is_held_make_the_whole(balance_cents: int, held_micros: int) -> None:
    available = balance_cents * money.MICROS_PER_CENT - held_micros
    assert money.cents_down(available) + money.cents_up(held_micros) == balance_cents


@given(AMOUNTS)
def test_six_places_are_exact(micros: int) -> None:
    assert Decimal(money.dollars_text(micros, places=6)) * money.MICROS_PER_DOLLAR == micros


@pytest.mark.parametrize(
    ("micros", "places", "text"),
    [
        (99_980_000, 2, "99.98"),
        (0, 2, "0.00"),
        (5_000, 2, "0.01"),
        (4_999, 2, "0.00"),
        (-5_000, 2, "-0.01"),
        (-1_230_000, 2, "-1.23"),
        (29_542, 6, "0.029542"),
        (-1, 6, "-0.000001"),
        (1_234_567_890_000, 2, "1234567.89"),
    ],
)
def test_dollars_text(micros: int, places: int, text: str) -> None:
    assert money.dollars_text(micros, places=places) == text


def test_dollars_text_refuses_other_places() -> None:
    with pytest.raises(ValueError, match="2 or 6"):
        money.dollars_text(1, places=3)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (1_230_000, "$1.23"),
        (-1_600, "\N{MINUS SIGN}$0.0016"),
        (0, "$0.00"),
        (1_200_000, "$1.20"),
        (29_542, "$0.029542"),
        (1_234_000_000, "$1,234.00"),
        (-2_500_000_000, "\N{MINUS SIGN}$2,500.00"),
    ],
)
def test_display_text(micros: int, text: str) -> None:
    assert money.display_text(micros) == text


@pytest.mark.parametrize(
    ("text", "micros"), [("20", 20_000_000), ("0.5", 500_000), ("1.000001", 1_000_001), (" 3.10 ", 3_100_000), ("0", 0)]
)
def test_micros_from_dollars(text: str, micros: int) -> None:
    assert money.micros_from_dollars(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1e3", "nan", "inf", "1,5", "1.0000001", ".", ".5", "1.", "0x1", "1_0", "1.²", "٣", "9" * 10],
)
def test_micros_from_dollars_refuses_what_is_not_a_plain_amount(text: str) -> None:
    with pytest.raises(ValueError, match="An amount is written like"):
        money.micros_from_dollars(text)


@given(
    rate=st.integers(min_value=0, max_value=10**9),
    duration_ms=st.integers(min_value=0, max_value=100 * 3600 * 1000),
)
def test_price_is_that_of_the_started_seconds_to_half_a_micro(rate: int, duration_ms: int) -> None:
    price = money.price_for_duration(rate, duration_ms)
    exact = Fraction(rate * -(-duration_ms // 1000), 3600)
    assert exact - Fraction(1, 2) < price <= exact + Fraction(1, 2)


@given(
    rate=st.integers(min_value=0, max_value=10**9),
    shorter=st.integers(min_value=0, max_value=10**8),
    more=st.integers(min_value=0, max_value=10**8),
)
def test_more_audio_never_costs_less(rate: int, shorter: int, more: int) -> None:
    assert money.price_for_duration(rate, shorter) <= money.price_for_duration(rate, shorter + more)


@pytest.mark.parametrize(("duration_ms", "seconds"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)])
def test_a_started_second_is_a_second(duration_ms: int, seconds: int) -> None:
    assert money.started_seconds(duration_ms) == seconds


def test_negative_durations_and_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="duration"):
        money.price_for_duration(1, -1)
    with pytest.raises(ValueError, match="rate"):
        money.price_for_duration(-1, 1)
