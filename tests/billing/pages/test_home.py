"""The billing page: what each role sees of the money."""

from django.test import Client

from billing import ledger
from tests.billing.charges import charge
from tests.billing.conftest import fund

MANAGERS_ONLY = ["Latest in the ledger", "Continue to payment", "Automatic top-up", "/billing/ledger/"]


def page_of(client: Client, path: str = "/billing/") -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_visitor_is_asked_to_sign_in(db):
    response = Client().get("/billing/")
    assert response.status_code == 302
    assert response.url.startswith("/accounts/login/")


def test_page_shows_balance_hold_and_ledger_with_signs(alice, organization, client_of):
    charge(organization, 83, description="Transcription of a.wav")
    ledger.reserve(organization, amount_micros=250_000, reference="job:2")
    page = page_of(client_of(alice))
    for text in ("+$1.00", "\N{MINUS SIGN}$0.000083", "$0.999917", "$0.749917", "$0.25 reserved", "$0.30", "$0.60"):
        assert text in page


def test_holds_are_no_ledger_entries(alice, organization, client_of):
    hold = ledger.reserve(organization, amount_micros=250_000, reference="job:running")
    response = client_of(alice).get("/billing/")
    assert [shown.pk for shown in response.context["holds"]] == [hold.pk]
    assert all(line["row"].reference != "job:running" for line in response.context["entries"])


def test_ten_thousand_holds_are_not_all_shown(alice, organization, client_of):
    for number in range(22):
        ledger.reserve(organization, amount_micros=1, reference=f"job:{number}")
    response = client_of(alice).get("/billing/")
    assert len(response.context["holds"]) == 20
    assert "The 20 oldest are shown" in response.content.decode()


def test_offer_is_in_plain_words(alice, organization, client_of):
    page = page_of(client_of(alice))
    for text in ("Pay $10.00", "Pay $200.00", "get $210.00", "$10.00 bonus", "Pay $500.00", "get $550.00"):
        assert text in page


def test_member_sees_the_balance_and_nothing_to_pay_or_to_read(bob, organization, client_of):
    page = page_of(client_of(bob))
    assert "$1.00" in page
    assert "Owners and admins" in page
    for text in MANAGERS_ONLY:
        assert text not in page


def test_stranger_sees_another_balance(alice, charlie, organization, client_of):
    fund(organization, 7_770_000)
    assert "$8.77" in page_of(client_of(alice))
    assert "$8.77" not in page_of(client_of(charlie))
