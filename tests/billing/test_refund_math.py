import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import money, pricing, refund_math

PAID_CENTS = st.integers(min_value=500, max_value=100_000)


@pytest.mark.parametrize(
    ("returned_cents", "clawed_micros"),
    [
        (0, 0),
        (1, 10_500),
        (200, 2_100_000),
        (20_000, 210_000_000),
        (20_001, 210_000_000),
        (40_000, 210_000_000),
    ],
)
def test_bonus_goes_in_the_same_share(returned_cents: int, clawed_micros: int) -> None:
    assert (
        refund_math.clawed_micros(paid_cents=20_000, bonus_cents=1_000, returned_cents=returned_cents) == clawed_micros
    )


def test_share_is_rounded_up_to_a_micro_dollar() -> None:
    # 1,000 cents of bonus on 20,001 paid: one cent takes 499.975 micro-dollars of it.
    assert refund_math.clawed_micros(paid_cents=20_001, bonus_cents=1_000, returned_cents=1) == 10_500


@pytest.mark.parametrize(("paid", "bonus", "returned"), [(0, 0, 0), (-1, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_no_such_payment(paid: int, bonus: int, returned: int) -> None:
    with pytest.raises(ValueError, match="No such payment"):
        refund_math.clawed_micros(paid_cents=paid, bonus_cents=bonus, returned_cents=returned)


@given(paid_cents=PAID_CENTS, data=st.data())
def test_many_small_returns_take_what_one_large_does_and_never_more_than_was_given(
    paid_cents: int, data: st.DataObject
) -> None:
    bonus_cents = pricing.bonus_cents(paid_cents)
    first = data.draw(st.integers(min_value=0, max_value=paid_cents))
    second = data.draw(st.integers(min_value=first, max_value=paid_cents))

    def clawed(cents: int) -> int:
        return refund_math.clawed_micros(paid_cents=paid_cents, bonus_cents=bonus_cents, returned_cents=cents)

    assert clawed(0) == 0
    assert clawed(first) >= first * money.MICROS_PER_CENT
    assert clawed(first) <= clawed(second) <= clawed(paid_cents) == (paid_cents + bonus_cents) * money.MICROS_PER_CENT


@pytest.mark.parametrize(
    ("available", "later", "unspent"),
    [
        (210, 0, 210),
        # Older money is available too and is spent first, so this payment is unspent.
        (500, 0, 210),
        (100, 0, 100),
        # Newer money is spent later.
        (150, 50, 100),
        (50, 50, 0),
        (40, 50, 0),
        (-30, 0, 0),
    ],
)
def test_older_money_is_spent_first(available: int, later: int, unspent: int) -> None:
    assert (
        refund_math.unspent_micros(received_micros=210, clawed_micros=0, available_micros=available, later_micros=later)
        == unspent
    )


def test_what_went_back_is_not_left() -> None:
    assert (
        refund_math.unspent_micros(received_micros=210, clawed_micros=105, available_micros=500, later_micros=0) == 105
    )


@pytest.mark.parametrize(
    ("returned_cents", "unspent_micros", "refundable_cents"),
    [
        # Nothing is spent: the whole payment, and its bonus is taken back with it.
        (0, 210_000_000, 20_000),
        # $10 of the paid part is spent, because the bonus is spent last.
        (0, 200_000_000, 19_000),
        # Only the bonus is left.
        (0, 10_000_000, 0),
        (0, 3_000_000, 0),
        (0, 0, 0),
        # Less than a cent is rounded down.
        (0, 10_009_999, 0),
        (0, 10_010_000, 1),
        # Half was returned, and half of the bonus with it.
        (10_000, 105_000_000, 10_000),
        (10_000, 100_000_000, 9_500),
        (20_000, 0, 0),
        (30_000, 0, 0),
    ],
)
def test_the_paid_part_that_is_unspent_may_go_back(
    returned_cents: int, unspent_micros: int, refundable_cents: int
) -> None:
    assert (
        refund_math.refundable_cents(
            paid_cents=20_000, bonus_cents=1_000, returned_cents=returned_cents, unspent_micros=unspent_micros
        )
        == refundable_cents
    )


@given(paid_cents=PAID_CENTS, data=st.data())
def test_what_may_go_back_never_takes_more_than_is_left(paid_cents: int, data: st.DataObject) -> None:
    bonus_cents = pricing.bonus_cents(paid_cents)
    returned_cents = data.draw(st.integers(min_value=0, max_value=paid_cents))

    def clawed(cents: int) -> int:
        return refund_math.clawed_micros(paid_cents=paid_cents, bonus_cents=bonus_cents, returned_cents=cents)

    left_micros = (paid_cents + bonus_cents) * money.MICROS_PER_CENT - clawed(returned_cents)
    unspent_micros = data.draw(st.integers(min_value=0, max_value=left_micros))
    refundable_cents = refund_math.refundable_cents(
        paid_cents=paid_cents, bonus_cents=bonus_cents, returned_cents=returned_cents, unspent_micros=unspent_micros
    )
    assert 0 <= refundable_cents <= paid_cents - returned_cents
    taken = clawed(returned_cents + refundable_cents) - clawed(returned_cents)
    assert taken <= unspent_micros
    if unspent_micros == left_micros:
        assert refundable_cents == paid_cents - returned_cents
