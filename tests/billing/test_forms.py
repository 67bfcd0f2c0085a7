"""What billing's forms accept. An amount that is accepted is exact to the cent, and nothing is guessed."""

import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import api_keys
from accounts.models import Organization
from billing import forms, ledger_reader, pricing
from billing.models import EntryKind
from tests.billing.charges import charge
from tests.billing.conftest import fund


def limit(amount: Any) -> forms.LimitForm:
    return forms.LimitForm({"monthly_limit": amount})


# --- Amounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount",
    [
        "-0.01",
        "0.001",
        "0.009",
        "1000000.01",
        "99999999999999999999",
        "1e7",
        "1e400",
        "1e-3",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "1,000",
        "1,50",
        # Python would read it as 500.
        "5_00",
        " ",
        "$5",
        "5 dollars",
        "0x10",
        "1 2",
        "--1",
    ],
)
def test_amount_that_is_not_plain_dollars_and_cents_is_refused(amount: str) -> None:
    assert "monthly_limit" in limit(amount).errors


@given(st.integers(min_value=0, max_value=100_000_000))
def test_amount_is_exact_to_the_cent(cents: int) -> None:
    dollars = Decimal(cents) / 100
    form = limit(f"{dollars:.2f}")
    assert form.is_valid()
    assert form.micros == cents * 10_000
    assert forms.cents_of(form.cleaned_data["monthly_limit"]) == cents


@given(st.integers(min_value=0, max_value=100_000_000))
def test_amount_that_is_shown_again_is_the_one_that_was_stored(cents: int) -> None:
    shown = forms.LimitForm.showing(cents * 10_000)["monthly_limit"].value()
    assert limit(str(shown)).is_valid()
    assert forms.cents_of(shown) == cents


def test_empty_amount_means_no_bound_and_zero_does_not() -> None:
    empty, zero = limit(""), limit("0")
    assert empty.is_valid()
    assert zero.is_valid()
    assert (empty.micros, zero.micros) == (None, 0)
    assert forms.LimitForm.showing(None)["monthly_limit"].value() is None


@pytest.mark.parametrize("amount", ["0", "0.00", "-1"])
def test_mail_below_nothing_is_refused(amount: str) -> None:
    assert "threshold" in forms.LowBalanceForm({"threshold": amount}).errors


def test_two_forms_of_one_page_have_no_id_in_common() -> None:
    low, automatic = forms.LowBalanceForm(), forms.AutomaticForm()
    assert not {field.auto_id for field in low} & {field.auto_id for field in automatic}


# --- Top-ups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "amount_cents"),
    [
        *(({"amount": str(cents)}, cents) for cents in pricing.PRODUCTS_CENTS),
        ({"amount": "custom", "custom": "5"}, 500),
        ({"amount": "custom", "custom": "5.00"}, 500),
        ({"amount": "custom", "custom": "75.01"}, 7_501),
        ({"amount": "custom", "custom": "0.29e2"}, 2_900),
        ({"amount": "custom", "custom": "1000"}, 100_000),
    ],
)
def test_topup_is_charged_as_chosen(fields: dict[str, str], amount_cents: int) -> None:
    form = forms.TopUpForm(fields)
    assert form.is_valid()
    assert form.amount_cents == amount_cents
    assert form.cleaned_data["save_card"] is False


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "amount"),
        ({"amount": ""}, "amount"),
        ({"amount": "1"}, "amount"),
        ({"amount": "1000.0"}, "amount"),
        ({"amount": "-20000"}, "amount"),
        # Only the custom field takes any amount.
        ({"custom": "75"}, "amount"),
        ({"amount": "custom"}, "custom"),
        ({"amount": "custom", "custom": "4.99"}, "custom"),
        ({"amount": "custom", "custom": "1000.01"}, "custom"),
        ({"amount": "custom", "custom": "20.001"}, "custom"),
        ({"amount": "custom", "custom": "-20"}, "custom"),
        ({"amount": "custom", "custom": "NaN"}, "custom"),
        # The two amounts contradict each other, even if they are equal.
        ({"amount": "20000", "custom": "75"}, "custom"),
        ({"amount": "20000", "custom": "200"}, "custom"),
    ],
)
def test_topup_of_an_unclear_amount_is_refused(fields: dict[str, str], field: str) -> None:
    assert list(forms.TopUpForm(fields).errors) == [field]


AUTOMATIC = {"threshold": "10", "mode": "by", "amount": "50", "monthly_cap": "200"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"threshold": "0.99"}, "threshold"),
        ({"threshold": ""}, "threshold"),
        ({"amount": "4.99"}, "amount"),
        ({"amount": "1000.01"}, "amount"),
        ({"amount": ""}, "amount"),
        ({"monthly_cap": "49.99"}, "monthly_cap"),
        # Without a cap a lost key could empty the card.
        ({"monthly_cap": ""}, "monthly_cap"),
        ({"monthly_cap": "0"}, "monthly_cap"),
    ],
)
def test_automatic_topup_outside_its_bounds_is_refused(changes: dict[str, str], field: str) -> None:
    assert list(forms.AutomaticForm({**AUTOMATIC, **changes}).errors) == [field]


def test_cap_of_a_target_is_judged_by_what_a_charge_comes_to() -> None:
    form = forms.AutomaticForm({**AUTOMATIC, "mode": "to", "amount": "50", "monthly_cap": "49"})
    assert form.is_valid()
    assert form.is_to_target


def test_cap_of_one_automatic_topup_is_accepted() -> None:
    assert forms.AutomaticForm({**AUTOMATIC, "monthly_cap": "50"}).is_valid()


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_cents": ""},
        {"amount_cents": "0"},
        {"amount_cents": "-1"},
        {"amount_cents": "1.5"},
        {"amount_cents": "100001"},
        {"amount_cents": "500 "},
        {"token": ""},
        {"token": "1"},
    ],
)
def test_refund_needs_the_amount_that_was_shown_and_a_token(changes: dict[str, str]) -> None:
    fields = {"amount_cents": "500", "token": str(uuid.uuid4())}
    assert forms.RefundForm(fields).is_valid()
    form = forms.RefundForm({**fields, **changes})
    if changes == {"amount_cents": "500 "}:
        # A browser may add white space; it does not change the amount.
        assert form.is_valid()
        assert form.cleaned_data["amount_cents"] == 500
        return
    assert list(form.errors) == list(changes)


@pytest.mark.parametrize("needed", ["0", "-1", "x", "100001", "9" * 30])
def test_shortfall_that_no_topup_covers_is_refused(needed: str) -> None:
    assert not forms.NeededForm({"needed": needed}).is_valid()


# --- Filters and pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["0", "-1", "x", "1.5", str(2**63)])
def test_cursor_beyond_the_ids_of_the_database_is_refused(before: str) -> None:
    assert not forms.CursorForm({"before": before}).is_valid()


@pytest.mark.parametrize("before", ["1", "x", "9f4c2f54-6a1e-4a8e-9f7e"])
def test_cursor_of_payments_must_be_an_id(before: str) -> None:
    assert not forms.PaymentCursorForm({"before": before}).is_valid()


def test_filter_selects_what_was_chosen(acme: Organization) -> None:
    fund(acme, 1_000)
    key, _ = api_keys.issue(acme, name="nightly", by=None)
    charge(acme, 1, key=key, model="premium")
    chosen = {"kind": "usage", "since": "2026-11-01", "until": "2026-11-30", "key": str(key.pk), "model": "premium"}
    form = forms.LedgerForm(chosen, organization=acme)
    assert form.is_valid()
    assert form.filter == ledger_reader.Filter(
        kind=EntryKind.USAGE,
        since=date(2026, 11, 1),
        until=date(2026, 11, 30),
        api_key_id=key.pk,
        is_without_key=False,
        model="premium",
    )
    assert form.query == chosen


def test_key_and_model_of_another_organization_are_invalid_like_unknown_ones(
    acme: Organization, rival: Organization
) -> None:
    fund(rival, 1_000)
    key, _ = api_keys.issue(rival, name="secret project", by=None)
    charge(rival, 1, key=key, model="secret model")
    theirs = forms.LedgerForm({"key": str(key.pk), "model": "secret model"}, organization=acme)
    unknown = forms.LedgerForm({"key": str(uuid.uuid4()), "model": "no such model"}, organization=acme)
    assert list(theirs.errors) == list(unknown.errors) == ["key", "model"]
    assert "secret project" not in str(theirs["key"])
    assert "secret model" not in [value for value, _ in theirs.fields["model"].choices]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "theft"}, "kind"),
        ({"since": "yesterday"}, "since"),
        ({"since": "1999-12-31"}, "since"),
        ({"until": "2101-01-01"}, "until"),
        ({"until": "9999-12-31"}, "until"),
        ({"until": "11/30/2026"}, "until"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "until"),
    ],
)
def test_filter_that_means_nothing_is_refused(acme: Organization, fields: dict[str, str], field: str) -> None:
    assert list(forms.LedgerForm(fields, organization=acme).errors) == [field]


@pytest.mark.parametrize("month", ["2026-13", "2026-00", "26-11", "2026-11-01", "1999-12", "2101-01", "9999-12", "x"])
def test_month_that_does_not_exist_or_is_far_away_is_refused(month: str) -> None:
    assert not forms.MonthForm({"month": month}).is_valid()


def test_month_is_its_first_day() -> None:
    form = forms.MonthForm({"month": "2026-11"})
    assert form.is_valid()
    assert form.cleaned_data["month"] == date(2026, 11, 1)
