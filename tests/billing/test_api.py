from datetime import UTC, datetime

import time_machine
from django.test import Client

from accounts.models import Organization
from billing import ledger, pricing
from billing.models import EntryKind
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
        ("expires_at", None),
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
