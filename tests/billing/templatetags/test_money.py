import pytest

from billing.templatetags import money

MINUS = "\N{MINUS SIGN}"


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
    assert money.money(micros) == exact
    assert money.signed_money(micros) == signed
    assert money.cents(micros) == cents


@pytest.mark.parametrize(("cents", "shown"), [(20_000, "$200.00"), (501, "$5.01"), (0, "$0.00"), (None, "\N{EN DASH}")])
def test_amounts_that_are_kept_in_cents(cents, shown):
    assert money.cents_money(cents) == shown


@pytest.mark.parametrize("show", [money.money])
def test_nothing_is_a_dash(show):
    assert show(None) == "\N{EN DASH}"
