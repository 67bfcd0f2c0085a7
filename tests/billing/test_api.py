from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import time_machine
from django.test import Client

from accounts.models import ApiKey, Organization
from billing import ledger, pricing, usage
from billing.models import EntryKind
from tests.billing.charges import charge, charge_chat, charge_many
from tests.conftest import Api


def test_balance_is_the_seeds_and_then_ours(api: Api, organization: Organization) -> None:
    available = ledger.wallet_of(organization).available_micros
    with time_machine.travel(datetime(2026, 4, 19, 18, 0, tzinfo=UTC), tick=False):
        ledger.credit(organization, amount_micros=50_000_000, kind=EntryKind.PAYMENT, reference="topup:1")
        ledger.reserve(organization, amount_micros=available + 20_001, reference="job:1")
    response = api.get("/v1/balance")
    assert response.status_code == 200
    assert list(response.json().items()) == [
        ("balance_cents", 4_997),
        ("balance_dollars", "49.97"),
        ("expired", False),
        ("recent_topups", [{"amount_cents": 5_000, "bonus_cents": 0, "created_at": "2026-04-19 18:00:00"}]),
        ("balance_micros", available + 50_000_000),
        ("held_micros", available + 20_001),
        ("available_micros", 49_979_999),
        ("held_cents", available // 10_000 + 3),
        ("expires_at", "2026-10-19 18:00:00"),
    ]
    assert response["X-RateLimit-Limit-Requests"]


def test_balance_needs_a_key(db: None) -> None:
    response = Client().get("/v1/balance")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == 401


def test_balance_is_the_callers_own(api: Api, stranger: Api, charlies: Organization) -> None:
    before = api.get("/v1/balance").json()
    ledger.credit(charlies, amount_micros=50_000_000, kind=EntryKind.PAYMENT, reference="topup:1")
    assert api.get("/v1/balance").json() == before
    assert stranger.get("/v1/balance").json()["recent_topups"][0]["amount_cents"] == 5_000


def test_balance_refuses_another_method(api: Api) -> None:
    response = api.post("/v1/balance")
    assert response.status_code == 405
    assert response.json()["error"]["type"] == "method_not_allowed"


def test_products_need_no_key_and_ask_no_database() -> None:
    response = Client().get("/billing/products")
    assert response.status_code == 200
    assert response.json() == pricing.products_document()
    assert "X-RateLimit-Limit-Requests" not in response


# --- Usage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def november() -> Iterator[None]:
    with time_machine.travel(datetime(2026, 11, 3, 9, 0, tzinfo=UTC), tick=False):
        yield


def test_usage_is_grouped_by_day_from_the_first_of_the_month_until_today(
    november: None, api: Api, organization: Organization
) -> None:
    charge(organization, 29_542, at=datetime(2026, 11, 2, 9, tzinfo=UTC), duration_ms=709_500)
    response = api.get("/v1/usage")
    assert response.status_code == 200
    nothing = {
        "requests": 0,
        "cost_micros": 0,
        "cost_dollars": "0.000000",
        "audio_seconds": 0.0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
    something = nothing | {
        "requests": 1,
        "cost_micros": 29_542,
        "cost_dollars": "0.029542",
        "audio_seconds": 709.5,
    }
    assert response.json() == {
        "from": "2026-11-01",
        "to": "2026-11-03",
        "group_by": "day",
        "usage": [
            {"day": "2026-11-01", **nothing},
            {"day": "2026-11-02", **something},
            {"day": "2026-11-03", **nothing},
        ],
        "total": something,
    }


def test_usage_by_model_and_by_key(november: None, api: Api, organization: Organization) -> None:
    key = ApiKey.objects.of(organization).get()
    charge(organization, 500, key=key)
    charge_chat(organization, 70, prompt_tokens=12, completion_tokens=3)
    by_model = api.get("/v1/usage", group_by="model").json()["usage"]
    assert [(line["model"], line["cost_micros"], line["prompt_tokens"]) for line in by_model] == [
        ("standard", 500, 0),
        ("apex-latest", 70, 12),
    ]
    by_key = api.get("/v1/usage", group_by="key").json()["usage"]
    assert [(line["key_id"], line["key_name"], line["key_prefix"], line["cost_micros"]) for line in by_key] == [
        (str(key.pk), "test", key.prefix, 500),
        (None, "In the browser", "", 70),
    ]


def test_usage_of_chosen_days(november: None, api: Api, organization: Organization) -> None:
    charge(organization, 1, at=datetime(2026, 10, 30, 9, tzinfo=UTC))
    charge(organization, 2, at=datetime(2026, 10, 31, 9, tzinfo=UTC))
    body = api.get("/v1/usage", **{"from": "2026-10-31", "to": "2026-10-31"}).json()
    assert body["total"]["cost_micros"] == 2
    # With only `to`, the period begins on the first of that month.
    assert api.get("/v1/usage", to="2026-10-31").json()["total"]["cost_micros"] == 3


def test_usage_is_the_callers_own(november: None, stranger: Api, organization: Organization) -> None:
    charge(organization, 500)
    body = stranger.get("/v1/usage", group_by="key").json()
    assert (body["usage"], body["total"]["requests"]) == ([], 0)


def test_usage_needs_a_key(db: None) -> None:
    assert Client().get("/v1/usage").status_code == 401


@pytest.mark.long
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "20261101"}, "to"),
        ({"to": "2026-02-30"}, "to"),
        ({"to": "9999-12-31"}, "to"),
        ({"from": "0001-01-01"}, "from"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"from": "2024-01-01", "to": "2026-01-01"}, "from"),
        ({"group_by": "person"}, "group_by"),
        ({"since": "2026-11-01"}, "since"),
    ],
)
def test_usage_refuses_what_it_cannot_answer(
    november: None, api: Api, organization: Organization, query: dict[str, str], param: str
) -> None:
    response = api.get("/v1/usage", **query)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_usage_by_tag_and_several_groups(november: None, api: Api, organization: Organization) -> None:
    charge(organization, 500, tags={"customer": "acme"})
    charge_chat(organization, 70)
    body = api.get("/v1/usage", group_by="tag", tag="customer").json()
    assert [(line["tag_value"], line["cost_micros"]) for line in body["usage"]] == [("acme", 500), (None, 70)]
    assert body["total"]["cost_micros"] == 570
    body = api.get("/v1/usage", group_by="kind, tag,kind", tag="customer").json()
    assert body["group_by"] == "kind,tag"
    assert [(line["kind"], line["tag_value"]) for line in body["usage"]] == [("transcription", "acme"), ("chat", None)]


@pytest.mark.long
def test_usage_is_filtered(november: None, api: Api, organization: Organization) -> None:
    key = ApiKey.objects.of(organization).get()
    charge(organization, 500, key=key, tags={"customer": "acme"})
    charge_chat(organization, 70)
    for query, micros in (
        ({"key_id": str(key.pk)}, 500),
        ({"key_id": "none"}, 70),
        ({"key_id": "00000000-0000-0000-0000-000000000007"}, 0),
        ({"model": "standard"}, 500),
        ({"kind": "chat"}, 70),
        ({"tag": "customer", "tag_value": "acme"}, 500),
        ({"tag": "customer", "tag_value": "ACME"}, 0),
        ({"tag": "customer"}, 570),
    ):
        body = api.get("/v1/usage", **query).json()
        assert (body["total"]["cost_micros"], len(body["usage"])) == (micros, 3), query


@pytest.mark.long
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"group_by": "tag"}, "tag"),
        ({"tag_value": "x"}, "tag"),
        ({"group_by": "day,person"}, "group_by"),
        ({"group_by": ","}, "group_by"),
        ({"kind": "poem"}, "kind"),
        ({"key_id": "x"}, "key_id"),
        ({"tag": "a\0b"}, "tag"),
        ({"model": "a\0b"}, "model"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_question_about_usage_is_named(api: Api, query: dict[str, str], param: str) -> None:
    response = api.get("/v1/usage", **query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_tags_and_keys_of_a_stranger_count_nothing(
    november: None, api: Api, stranger: Api, organization: Organization
) -> None:
    key = ApiKey.objects.of(organization).get()
    charge(organization, 500, key=key, tags={"customer": "acme"})
    for query in ({"key_id": str(key.pk)}, {"tag": "customer", "tag_value": "acme"}, {"group_by": "key"}):
        assert stranger.get("/v1/usage", **query).json()["total"]["cost_micros"] == 0


@pytest.mark.long
def test_tag_with_a_value_for_each_request_is_refused_not_sent(
    november: None, api: Api, organization: Organization
) -> None:
    charge(organization, 10, tags={"trace": "x"})
    charge_many(organization, usage.MAX_TAG_VALUES, tag="trace")
    response = api.get("/v1/usage", group_by="tag", tag="trace")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tag")
    assert api.get("/v1/usage", group_by="tag", tag="trace", tag_value="x").json()["total"]["cost_micros"] == 10
