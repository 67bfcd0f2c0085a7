import csv
import io
import re
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine

from accounts import api_keys
from accounts.models import Organization
from billing import ledger, ledger_reader, money
from billing.ledger_reader import Filter
from billing.models import EntryKind, Wallet
from tests.billing.charges import charge, charge_chat
from tests.billing.conftest import fund

NOON = datetime(2026, 4, 19, 12, 0, tzinfo=UTC)


def rows_of(organization: Organization, only: Filter = ledger_reader.ALL) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(ledger_reader.csv_lines(organization, only=only)), newline="")))


def amounts(organization: Organization, only: Filter) -> list[int]:
    """Return the found entries, newest first. Page and file must agree."""
    found = [entry.amount_micros for entry in ledger_reader.entries(organization, limit=100, only=only)]
    assert [int(row["amount_micros"]) for row in reversed(rows_of(organization, only))] == found
    return found


# --- Pages -----------------------------------------------------------------------------------------------------------


def test_who_never_had_money_has_an_empty_ledger_and_gets_no_wallet(acme: Organization) -> None:
    assert ledger_reader.entries(acme, limit=10, only=Filter(since=date(2026, 1, 1), until=date(2026, 1, 2))) == []
    assert ledger_reader.models(acme) == []
    assert not Wallet.objects.exists()


def test_entries_come_in_pages_newest_first(acme: Organization, rival: Organization) -> None:
    for number in range(5):
        fund(acme, 10 + number)
    fund(rival, 1)
    first = ledger_reader.entries(acme, limit=2)
    second = ledger_reader.entries(acme, limit=10, before=first[-1].pk)
    assert [entry.amount_micros for entry in first + second] == [14, 13, 12, 11, 10]
    assert [entry.balance_after_micros for entry in first] == [60, 46]


def test_filtered_pages_follow_each_other_without_gap(acme: Organization) -> None:
    fund(acme, 1_000)
    for number in range(6):
        charge(acme, 1 + number, model="xy"[number % 2])
    only = Filter(model="x")
    first = ledger_reader.entries(acme, limit=2, only=only)
    second = ledger_reader.entries(acme, limit=2, before=first[-1].pk, only=only)
    assert [entry.amount_micros for entry in first + second] == [-5, -3, -1]


# --- Filters ---------------------------------------------------------------------------------------------------------


def test_kind_is_filtered(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.credit(acme, amount_micros=500, kind=EntryKind.PAYMENT, reference="topup:1")
    charge(acme, 5)
    assert amounts(acme, Filter(kind=EntryKind.PAYMENT)) == [500]
    assert amounts(acme, Filter(kind=EntryKind.USAGE)) == [-5]


def test_period_has_whole_days_in_utc_and_both_ends(acme: Organization) -> None:
    for micros, moment in (
        (1, datetime(2026, 4, 18, 23, 59, 59, tzinfo=UTC)),
        (2, datetime(2026, 4, 19, 0, 0, tzinfo=UTC)),
        (4, datetime(2026, 4, 20, 23, 59, 59, tzinfo=UTC)),
        (8, datetime(2026, 4, 21, 0, 0, tzinfo=UTC)),
    ):
        with time_machine.travel(moment, tick=False):
            fund(acme, micros)
    assert amounts(acme, Filter(since=date(2026, 4, 19), until=date(2026, 4, 20))) == [4, 2]
    assert amounts(acme, Filter(since=date(2026, 4, 20))) == [8, 4]
    assert amounts(acme, Filter(until=date(2026, 4, 19))) == [2, 1]
    assert amounts(acme, Filter(since=date(2027, 1, 1))) == []
    assert amounts(acme, Filter(until=date(2025, 1, 1))) == []


def test_hosts_whose_clocks_disagree_lose_no_line_of_a_period(acme: Organization) -> None:
    # The second entry was written by a host whose clock is two minutes behind.
    for micros, moment in ((1, NOON), (2, NOON - timedelta(minutes=2)), (4, NOON + timedelta(minutes=1))):
        with time_machine.travel(moment.replace(hour=0, minute=1) + (moment - NOON), tick=False):
            fund(acme, micros)
    assert amounts(acme, Filter(since=date(2026, 4, 19))) == [4, 1]
    assert amounts(acme, Filter(until=date(2026, 4, 18))) == [2]


def test_key_model_and_browser_are_filtered_for_transcriptions_and_completions(acme: Organization) -> None:
    fund(acme, 1_000)
    key, _ = api_keys.issue(acme, name="a", by=None)
    other, _ = api_keys.issue(acme, name="b", by=None)
    charge(acme, 1, key=key)
    charge(acme, 2, key=other, model="premium")
    charge_chat(acme, 4, key=key)
    charge(acme, 8)
    assert amounts(acme, Filter(api_key_id=key.pk)) == [-4, -1]
    assert amounts(acme, Filter(api_key_id=key.pk, model="apex-latest")) == [-4]
    assert amounts(acme, Filter(model="premium")) == [-2]
    # The credit has no key either, but it is no work in a browser.
    assert amounts(acme, Filter(is_without_key=True)) == [-8]
    assert amounts(acme, Filter(api_key_id=uuid.uuid4())) == []
    assert amounts(acme, Filter(kind=EntryKind.CREDIT, model="premium")) == []


def test_another_organizations_key_finds_nothing_of_theirs(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    theirs, _ = api_keys.issue(rival, name="theirs", by=None)
    charge(rival, 7, key=theirs)
    assert amounts(acme, Filter(api_key_id=theirs.pk)) == []


def test_models_are_those_that_were_charged_sorted_and_own(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    for model in ("standard", "apex-latest", "standard", "premium"):
        charge(acme, 1, model=model)
    charge(rival, 1, model="theirs")
    ledger.settle(ledger.reserve(acme, amount_micros=3, reference="job:bare"), actual_micros=3)
    assert ledger_reader.models(acme) == ["apex-latest", "premium", "standard"]


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_is_the_whole_ledger_in_order(acme: Organization, rival: Organization) -> None:
    key, _ = api_keys.issue(acme, name="nightly", by=None)
    with time_machine.travel(NOON, tick=False):
        fund(acme, 1_000_000, reference="a")
        fund(acme, 2_000_000, reference="b")
        fund(rival, 9, reference="c")
    tags = {"team": 'a "b", c', "1": "x"}
    entry = charge(acme, 29_542, at=NOON, key=key, description='"quoted", and\nmore.mp3', tags=tags)
    texts = list(ledger_reader.csv_lines(acme, batch_size=2))
    assert len(texts) == 3
    rows = list(csv.reader(io.StringIO("".join(texts), newline="")))
    assert rows == [
        list(ledger_reader.CSV_COLUMNS),
        ["2026-04-19 12:00:00", "credit", "", "a", "", "", "1.000000", "1000000", "1.000000", "1000000", ""],
        ["2026-04-19 12:00:00", "credit", "", "b", "", "", "2.000000", "2000000", "3.000000", "3000000", ""],
        [
            "2026-04-19 12:00:00",
            "usage",
            '"quoted", and\nmore.mp3',
            entry.reference,
            "nightly",
            "standard",
            "-0.029542",
            "-29542",
            "2.970458",
            "2970458",
            '{"1": "x", "team": "a \\"b\\", c"}',
        ],
    ]


def test_csv_of_an_empty_ledger_is_its_heading(acme: Organization) -> None:
    assert list(ledger_reader.csv_lines(acme)) == [",".join(ledger_reader.CSV_COLUMNS) + "\r\n"]


def test_amounts_of_the_file_sum_to_the_balance_in_dollars_and_in_micros(acme: Organization) -> None:
    fund(acme, 3_333_333)
    for micros in (1, 999, 29_542, 1_000_000):
        charge(acme, micros)
    wallet = Wallet.objects.of(acme).get()
    rows = rows_of(acme)
    assert sum(int(row["amount_micros"]) for row in rows) == wallet.balance_micros
    in_dollars = sum(int(row["amount_usd"].replace(".", "")) for row in rows)
    assert in_dollars == wallet.balance_micros
    assert rows[-1]["balance_after_usd"] == money.dollars_text(wallet.balance_micros, places=6)


@pytest.mark.long
@pytest.mark.parametrize(
    "hostile",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        '"=1',
        "\uff1d1+1",
        # A spreadsheet that separates columns by semicolons begins a cell after one.
        "meeting;=1+1",
        "meeting; @SUM(A1)",
        "meeting\n+1",
    ],
)
def test_no_text_of_a_customer_is_run_as_a_formula(acme: Organization, hostile: str) -> None:
    fund(acme, 1_000)
    charge(acme, 1, description=hostile, model=hostile)
    row = rows_of(acme)[-1]
    for name in ("description", "model"):
        cells = re.split(r"[;\t\r\n]", row[name])
        assert not [cell for cell in cells if cell.strip(' "').startswith(("=", "+", "-", "@", "\uff1d"))], row[name]
    # Numbers are not changed.
    assert row["amount_usd"] == "-0.000001"


def test_name_of_a_key_is_no_formula_either(acme: Organization) -> None:
    fund(acme, 1_000)
    key, _ = api_keys.issue(acme, name="=1+1", by=None)
    charge(acme, 1, key=key)
    assert rows_of(acme)[-1]["key"] == "'=1+1"


@pytest.mark.parametrize("plain", ["meeting - 3 of 4 = all.mp3", "a@b.mp3", "1+1.wav", "Übung; zweiter Teil.mp3"])
def test_plain_names_stay_as_they_are(plain: str) -> None:
    assert ledger_reader.harmless(plain) == plain
