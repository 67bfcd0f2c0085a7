"""The usage page: figures, charts, and links to the entries behind them."""

import re
from datetime import UTC, datetime

import pytest
import time_machine

from accounts import api_keys
from billing import usage
from billing.pages import usage as usage_page
from tests.billing.charges import charge, charge_chat, charge_many


@pytest.fixture
def september():
    with time_machine.travel(datetime(2026, 9, 1, 9, 0, tzinfo=UTC), tick=False) as clock:
        yield clock


@pytest.fixture(autouse=True)
def today(september, organization, charlies):
    """The organizations are older than their charges, so that the entries are in the order of time."""
    september.move_to(datetime(2026, 11, 20, 9, 0, tzinfo=UTC))


def test_month_by_day_model_and_key(alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="nightly import", by=None)
    charge(organization, 300_000, at=datetime(2026, 11, 3, 9, tzinfo=UTC), key=key, duration_ms=3_600_000)
    charge(organization, 100, at=datetime(2026, 11, 4, 9, tzinfo=UTC), model="premium")
    charge_chat(organization, 50, at=datetime(2026, 11, 4, 9, tzinfo=UTC), prompt_tokens=1200, completion_tokens=34)
    page = client_of(alice).get("/billing/usage/").content.decode()
    for text in ("November 2026", "$0.30015", "nightly import", "In the browser", "premium", "apex-latest", "1,234"):
        assert text in page
    assert "3 November: $0.30" in page
    assert page.count('<svg class="chart"') == 1


def test_table_has_every_day_with_charges_and_their_sum(alice, organization, client_of):
    charge(organization, 300, at=datetime(2026, 11, 3, 9, tzinfo=UTC))
    charge(organization, 200, at=datetime(2026, 11, 9, 9, tzinfo=UTC))
    page = client_of(alice).get("/billing/usage/").content.decode()
    table = page[page.index("<table>") : page.index("</table>")]
    assert re.findall(r">(\d+ Nov)<", table) == ["3 Nov", "9 Nov"]
    assert table.count("$0.0005") == 1


def test_earlier_month_is_shown_by_itself(alice, organization, client_of):
    charge(organization, 300, at=datetime(2026, 10, 31, 23, 59, tzinfo=UTC))
    client = client_of(alice)
    assert client.get("/billing/usage/").context["usage"].total.charges_count == 0
    response = client.get("/billing/usage/", {"month": "2026-10"})
    assert response.context["usage"].total.cost_micros == 300
    assert "month=2026-11" in response.content.decode()


@pytest.mark.parametrize("month", ["2027-01", "2026-12"])
def test_month_of_the_future_is_this_month(alice, organization, client_of, month):
    response = client_of(alice).get("/billing/usage/", {"month": month})
    assert response.status_code == 200
    assert "November 2026" in response.content.decode()
    assert response.context["after"] is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("month", "message"),
    [
        ("nonsense", "Enter the month as 2026-11."),
        ("2026-13", "Enter the month as 2026-11."),
        ("9999-12", "Choose a month closer to today."),
        ("0001-01", "Choose a month closer to today."),
        ("2026-11-20", "Enter the month as 2026-11."),
    ],
)
def test_month_that_cannot_be_understood_is_said_so_and_shows_no_other(alice, organization, client_of, month, message):
    charge(organization, 300, at=datetime(2026, 11, 3, 9, tzinfo=UTC))
    response = client_of(alice).get("/billing/usage/", {"month": month})
    assert response.status_code == 400
    page = response.content.decode()
    assert message in page
    assert "$0.0003" not in page
    assert f'href="/o/{organization.pk}/billing/usage/">This month' in page


def test_every_figure_leads_to_its_lines(alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="nightly", by=None)
    entry = charge(organization, 300, at=datetime(2026, 11, 3, 9, tzinfo=UTC), key=key, model="premium")
    client = client_of(alice)
    page = client.get("/billing/usage/").content.decode()
    ways = [way.replace("&amp;", "&") for way in re.findall(r'href="(/o/[^"/]+/billing/ledger/\?[^"]+)"', page)]
    assert len(ways) == 3
    for way in ways:
        assert [line["row"].pk for line in client.get(way).context["entries"]] == [entry.pk]


def test_name_of_a_key_or_model_is_no_markup(alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="<script>alert(1)</script>", by=None)
    charge(organization, 300, key=key, model="<img src=x>")
    page = client_of(alice).get("/billing/usage/").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x>" not in page


def test_page_breaches_no_content_policy(alice, organization, client_of):
    charge(organization, 300)
    page = client_of(alice).get("/billing/usage/").content.decode()
    assert not re.search(r"<[^>]+\sstyle=", page)
    assert "<style" not in page


def test_stranger_sees_none_of_it(organization, charlie, client_of):
    charge(organization, 300)
    assert client_of(charlie).get("/billing/usage/").context["usage"].total.charges_count == 0


@pytest.mark.long
def test_charges_are_shown_by_the_tag_that_is_chosen(alice, organization, client_of):
    charge(organization, 300, tags={"customer": "acme", "team": "<b>x</b>"})
    charge(organization, 20, tags={"team": "y"})
    charge(organization, 1)
    client = client_of(alice)
    page = client.get("/billing/usage/").content.decode()
    for text in ("By tag", "<option selected>customer</option>", "acme", "Without this tag", "$0.000021"):
        assert text in page
    by_team = client.get("/billing/usage/", {"tag": "team"})
    assert "<b>x" not in by_team.content.decode()
    assert [(line["name"], line["amounts"].cost_micros) for line in by_team.context["tags"]] == [
        ("<b>x</b>", 300),
        ("y", 20),
        (None, 1),
    ]
    assert client.get("/billing/usage/", {"tag": "unheard of\0"}).context["tag"] == "customer"


def test_month_without_tags_has_no_part_about_them(alice, organization, client_of):
    charge(organization, 300)
    assert "By tag" not in client_of(alice).get("/billing/usage/").content.decode()


def test_tags_of_a_stranger_are_not_shown(alice, charlies, organization, client_of):
    charge(charlies, 300, tags={"secret": "x"})
    charge(organization, 300)
    assert "secret" not in client_of(alice).get("/billing/usage/", {"tag": "secret"}).content.decode()


def test_many_values_of_a_tag_are_summed(alice, organization, client_of):
    for number in range(usage_page.MAX_SHOWN_VALUES):
        charge(organization, 1_000 - number, tags={"trace": str(number)})
    for number in range(3):
        charge(organization, 8 - number, tags={"trace": f"cheap {number}"})
    response = client_of(alice).get("/billing/usage/")
    shown = [line["name"] for line in response.context["tags"]]
    assert shown == [str(number) for number in range(usage_page.MAX_SHOWN_VALUES)]
    assert "3 more values: $0.000021" in response.content.decode()


@pytest.mark.long
def test_tag_with_a_value_for_each_request_is_not_listed(alice, organization, client_of):
    charge_many(organization, usage.MAX_TAG_VALUES + 1, tag="trace")
    page = client_of(alice).get("/billing/usage/").content.decode()
    assert "too many values" in page
