"""The billing page and the ledger as a file."""

import csv
import io

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from billing import ledger
from billing.models import EntryKind


def credit(organization, micros, *, reference="payment:1"):
    ledger.credit(
        organization, amount_micros=micros, kind=EntryKind.CREDIT, reference=reference, description="A present"
    )


@pytest.mark.parametrize("path", ["/billing/", "/billing/ledger.csv"])
def test_visitor_is_asked_to_sign_in(db, path):
    response = Client().get(path)
    assert response.status_code == 302
    assert response.url.startswith("/accounts/login/")


def test_page_shows_balance_hold_and_book_with_signs(alice, organization, client_of):
    hold = ledger.reserve(organization, amount_micros=300_000, reference="job:1")
    ledger.settle(hold, actual_micros=83, description="Transcription of a.wav")
    ledger.reserve(organization, amount_micros=250_000, reference="job:2")
    page = client_of(alice).get("/billing/").content.decode()
    for text in ("+$1.00", "\N{MINUS SIGN}$0.000083", "$0.999917", "$0.749917", "$0.25 held", "$0.30", "$0.60"):
        assert text in page


def test_member_sees_the_book_and_a_stranger_another(bob, charlie, organization, client_of):
    credit(organization, 7_770_000)
    assert "+$7.77" in client_of(bob).get("/billing/").content.decode()
    assert "+$7.77" not in client_of(charlie).get("/billing/").content.decode()


def test_long_book_is_shown_in_pages(alice, organization, client_of):
    for number in range(60):
        credit(organization, 10_000 + number, reference=f"payment:{number}")
    client = client_of(alice)
    first = client.get("/billing/")
    assert len(first.context["entries"]) == 50
    second = client.get("/billing/", {"before": first.context["next_cursor"]})
    assert len(second.context["entries"]) == 11
    assert second.context["next_cursor"] is None
    assert not {entry.pk for entry in first.context["entries"]} & {entry.pk for entry in second.context["entries"]}


@pytest.mark.parametrize("before", ["", "-1", "x", "9" * 30])
def test_odd_cursor_is_harmless(alice, organization, client_of, before):
    assert client_of(alice).get("/billing/", {"before": before}).status_code == 200


def test_ledger_as_csv(alice, organization):
    credit(organization, 500_000)

    async def fetch() -> tuple[object, str]:
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.get("/billing/ledger.csv")
        return response, b"".join([part async for part in response]).decode()

    response, text = async_to_sync(fetch)()
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in response["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["amount_usd"] for row in rows] == ["1.000000", "0.500000"]
