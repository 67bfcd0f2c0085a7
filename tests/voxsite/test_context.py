"""What every page knows."""

import pytest

from billing import ledger, statements
from voxsite.context import available_percent


@pytest.mark.parametrize(("held_micros", "percent"), [(0, 100), (250_000, 75), (1_000_000, 0)])
def test_thin_bar_shows_what_is_free(organization, held_micros, percent):
    if held_micros:
        ledger.reserve(organization, amount_micros=held_micros, reference="job:1")
    assert available_percent(statements.balance(organization)) == percent


def test_empty_balance_is_an_empty_bar(organization):
    hold = ledger.reserve(organization, amount_micros=1_000_000, reference="job:1")
    ledger.settle(hold, actual_micros=1_000_000)
    assert available_percent(statements.balance(organization)) == 0


def test_page_says_when_the_development_engine_listens(alice, organization, client_of):
    assert "PocketSphinx" in client_of(alice).get("/overview/").content.decode()
