"""The ledger page and the ledger as a file."""

import csv
import io
import re

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

from accounts import api_keys
from accounts.models import User
from billing import ledger
from billing.models import EntryKind
from billing.pages.ledger import KIND_SENTENCES
from tests.billing.charges import charge, charge_chat


def credit(organization, micros, *, reference="payment:1"):
    ledger.credit(
        organization, amount_micros=micros, kind=EntryKind.CREDIT, reference=reference, description="A present"
    )


def references(response):
    return [line["row"].reference for line in response.context["entries"]]


def test_long_ledger_is_shown_in_pages(alice, organization, client_of):
    for number in range(60):
        credit(organization, 10_000 + number, reference=f"payment:{number}")
    client = client_of(alice)
    first = client.get("/billing/ledger/")
    assert len(first.context["entries"]) == 50
    second = client.get("/billing/ledger/", {"before": first.context["next_cursor"]})
    assert len(second.context["entries"]) == 11
    assert second.context["next_cursor"] is None
    assert not set(references(first)) & set(references(second))


def test_next_page_keeps_the_filter(alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="nightly", by=None)
    for number in range(53):
        charge(organization, 1 + number, key=key)
        charge(organization, 100)
    client = client_of(alice)
    first = client.get("/billing/ledger/", {"key": str(key.pk)})
    (older,) = re.findall(r'href="([^"]+before=\d+)"', first.content.decode())
    second = client.get(older.replace("&amp;", "&"))
    assert len(references(first)) == 50
    assert len(references(second)) == 3
    assert not second.context["is_first_page"]


def test_filter_by_tag_selects_the_same_lines_on_the_page_and_in_the_file(alice, organization, client_of, download):
    wanted = charge(organization, 83, tags={"customer": "a&b =c", "team": "x"})
    other = charge(organization, 84, tags={"customer": "acme"})
    charge(organization, 85, tags={"team": "a&b =c"})
    charge(organization, 86)
    client = client_of(alice)
    asked = {"tag": "customer", "tag_value": "a&b =c"}
    response = client.get("/billing/ledger/", asked)
    assert references(response) == [wanted.reference]
    assert references(client.get("/billing/ledger/", {"tag": "customer"})) == [other.reference, wanted.reference]
    assert references(client.get("/billing/ledger/", {"tag": "nothing"})) == []
    (query,) = re.findall(r'href="[^"]+ledger[.]csv([^"]*)"', response.content.decode())
    lines = list(csv.DictReader(io.StringIO(download(query.replace("&amp;", "&"))[1], newline="")))
    assert [line["reference"] for line in lines] == [wanted.reference]
    # The usage page leads there.
    page = client.get("/billing/usage/", {"tag": "customer"}).content.decode()
    (link,) = re.findall(r'href="([^"]+tag_value=a[^"]*)"', page.replace("tag_value=acme", ""))
    assert references(client.get(link.replace("&amp;", "&"))) == [wanted.reference]


def test_tag_of_another_organization_finds_nothing_of_theirs(alice, organization, charlies, client_of):
    ledger.credit(charlies, amount_micros=1_000, kind=EntryKind.CREDIT, reference="theirs")
    charge(charlies, 5, tags={"customer": "acme"})
    assert references(client_of(alice).get("/billing/ledger/", {"tag": "customer"})) == []


@pytest.mark.parametrize(
    "asked", [{"tag_value": "x"}, {"tag": "x" * 65}, {"tag": "a", "tag_value": "x" * 129}, {"tag": "\0"}]
)
def test_impossible_tag_is_refused(alice, organization, client_of, asked):
    response = client_of(alice).get("/billing/ledger/", asked)
    assert (response.status_code, references(response)) == (400, [])


@pytest.mark.parametrize("before", ["", "-1", "0", "x", "9" * 30])
def test_odd_cursor_is_harmless(alice, organization, client_of, before):
    response = client_of(alice).get("/billing/ledger/", {"before": before})
    assert response.status_code == 200
    assert len(response.context["entries"]) == 1


def test_line_says_what_it_was_for(alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="nightly import", by=None)
    charge(organization, 83, key=key, model="premium", duration_ms=423_000, description="Transcription of a.wav")
    charge_chat(organization, 7, prompt_tokens=1200, completion_tokens=345)
    page = client_of(alice).get("/billing/ledger/").content.decode()
    assert "Transcription of a.wav" in page
    assert "Usage · premium · 7 min 3 s · key nightly import" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "apex-latest · 1200 + 345 tokens" in page


def test_every_kind_of_line_is_explained(alice, organization, client_of):
    page = client_of(alice).get("/billing/ledger/").content.decode()
    assert set(KIND_SENTENCES) == set(EntryKind)
    for sentence in KIND_SENTENCES.values():
        assert sentence in page


def test_filter_by_kind_period_key_and_model(alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="nightly", by=None)
    wanted = charge(organization, 83, key=key, model="premium")
    charge(organization, 84, model="premium")
    charge(organization, 85, key=key)
    today = wanted.created_at.date().isoformat()
    response = client_of(alice).get(
        "/billing/ledger/",
        {"kind": "usage", "since": today, "until": today, "key": str(key.pk), "model": "premium"},
    )
    assert references(response) == [wanted.reference]


def test_filter_that_fits_nothing_says_so(alice, organization, client_of):
    page = client_of(alice).get("/billing/ledger/", {"kind": "expiry"}).content.decode()
    assert "No entries match" in page


@pytest.mark.long
@pytest.mark.parametrize(
    "query",
    [
        {"kind": "theft"},
        {"since": "yesterday"},
        {"since": "9999-12-31"},
        {"until": "9999-12-31"},
        {"until": "0001-01-01"},
        {"since": "2026-02-02", "until": "2026-02-01"},
        {"key": "not-a-key"},
        {"model": "no-such-model"},
    ],
)
@pytest.mark.parametrize("path", ["/billing/ledger/", "/billing/ledger.csv"])
def test_filter_that_means_nothing_shows_no_lines_and_the_reason(alice, organization, client_of, path, query):
    response = client_of(alice).get(path, query)
    assert response.status_code == 400
    assert response.context["entries"] == []
    assert "This filter is not valid" in response.content.decode()


def test_strangers_key_cannot_be_chosen_and_its_name_is_not_shown(alice, organization, charlies, client_of):
    theirs, _ = api_keys.issue(charlies, name="secret project", by=None)
    response = client_of(alice).get("/billing/ledger/", {"key": str(theirs.pk)})
    assert response.status_code == 400
    assert "secret project" not in response.content.decode()


# --- The file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def download(alice):
    """Fetch the file as the web process does: asynchronously, part by part."""

    async def fetch(query: str, person: User) -> tuple[object, str]:
        client = AsyncClient()
        organization_id = await person.memberships.values_list("organization_id", flat=True).aget()
        await client.aforce_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.get(f"/o/{organization_id}/billing/ledger.csv{query}")
        return response, b"".join([part async for part in response]).decode()

    return lambda query="", person=alice: async_to_sync(fetch)(query, person)


def test_ledger_as_csv(organization, download):
    credit(organization, 500_000)
    response, text = download()
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in response["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["amount_usd"] for row in rows] == ["1.000000", "0.500000"]


def test_file_has_what_the_filter_leaves_and_is_named_a_part(organization, download):
    credit(organization, 500_000)
    charge(organization, 83)
    response, text = download("?kind=usage")
    assert [row["amount_micros"] for row in csv.DictReader(io.StringIO(text))] == ["-83"]
    assert "voxsite-ledger-part-" in response["Content-Disposition"]


def test_stranger_gets_their_own_file(organization, charlie, charlies, download):
    credit(organization, 7_770_000)
    credit(charlies, 1_110_000, reference="payment:2")
    _, text = download(person=charlie)
    assert "1.110000" in text
    assert "7.770000" not in text
