"""`/v1/automatic-topup`: works, no key, no scope, stranger, bad input."""

from typing import Any

import pytest
from django.test import Client

from accounts import api_keys
from accounts.models import Organization, User
from billing import automatic_topups
from billing.models.payments import AutomaticTopUp, SavedCard, TopUpState
from tests.billing.stripe_objects import make_topup
from tests.conftest import Api

PATH = "/v1/automatic-topup"
TO_TARGET = {"threshold_cents": 1_000, "target_cents": 21_500, "monthly_cap_cents": 50_000}
BY_AMOUNT = {"threshold_cents": 1_000, "amount_cents": 5_000, "monthly_cap_cents": 50_000}


@pytest.fixture
def admin(organization: Organization) -> Api:
    return Api(api_keys.issue(organization, name="admin", by=None, scopes=["admin"])[1])


@pytest.fixture
def saved_card(organization: Organization) -> SavedCard:
    return SavedCard.objects.create(organization=organization, payment_method_id="pm_1", brand="visa", last4="4242")


def send(api: Api, body: object, method: str = "put") -> Any:
    return getattr(api.client, method)(PATH, body, content_type="application/json", headers={"X-API-Key": api.key})


def test_target_is_set_shown_with_its_charge_and_turned_off(
    admin: Api, saved_card: SavedCard, organization: Organization
) -> None:
    response = send(admin, TO_TARGET)
    assert response.status_code == 200
    shown = {
        "is_on": True,
        "threshold_cents": 1_000,
        "amount_cents": None,
        "target_cents": 21_500,
        "monthly_cap_cents": 50_000,
        "charged_this_month_cents": 0,
        # $205 are missing: $200 and their bonus are enough.
        "charge_at_threshold_cents": 20_000,
        "bonus_at_threshold_cents": 1_000,
        "has_card": True,
        "waits_until": None,
        "turned_off_reason": "",
    }
    assert response.json() == admin.get(PATH).json() == shown
    off = admin.client.delete(PATH, headers={"X-API-Key": admin.key})
    assert (off.status_code, off.json()) == (200, {**shown, "is_on": False})
    assert SavedCard.objects.of(organization).exists()


def test_amount_takes_the_place_of_a_target(admin: Api, saved_card: SavedCard) -> None:
    send(admin, TO_TARGET)
    shown = send(admin, {**BY_AMOUNT, "target_cents": None}).json()
    assert (shown["amount_cents"], shown["target_cents"]) == (5_000, None)
    assert (shown["charge_at_threshold_cents"], shown["bonus_at_threshold_cents"]) == (5_000, 0)


def test_what_counts_toward_the_cap_is_shown(admin: Api, saved_card: SavedCard, organization: Organization) -> None:
    send(admin, TO_TARGET)
    make_topup(organization, 700, is_automatic=True, state=TopUpState.PROCESSING)
    assert admin.get(PATH).json()["charged_this_month_cents"] == 700


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"target_cents": 1_499}, "target_cents"),
        ({"target_cents": 100_001}, "target_cents"),
        ({"target_cents": 0}, "target_cents"),
        ({"target_cents": "much"}, "target_cents"),
        ({"target_cents": 2**40}, "target_cents"),
        ({"target_cents": None}, "amount_cents"),
        ({"amount_cents": 5_000}, "target_cents"),
        ({"amount_cents": 499, "target_cents": None}, "amount_cents"),
        ({"threshold_cents": 99}, "threshold_cents"),
        ({"threshold_cents": None}, "threshold_cents"),
        ({"monthly_cap_cents": 19_999}, "monthly_cap_cents"),
        ({"monthly_cap_cents": 10**9}, "monthly_cap_cents"),
        ({"cap": 1}, "cap"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_and_nothing_changes(
    admin: Api, saved_card: SavedCard, changes: dict[str, object], param: str
) -> None:
    response = send(admin, {**TO_TARGET, **changes})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert not AutomaticTopUp.objects.exists()


@pytest.mark.parametrize("body", ["[]", "{", "1", ""])
def test_broken_body_is_a_bad_request(admin: Api, saved_card: SavedCard, body: str) -> None:
    assert send(admin, body).status_code == 400


def test_without_a_card_nothing_is_turned_on(admin: Api) -> None:
    response = send(admin, TO_TARGET)
    assert (response.status_code, admin.get(PATH).json()["has_card"]) == (409, False)
    assert not AutomaticTopUp.objects.exists()


def test_needs_a_key(db: None) -> None:
    assert Client().get(PATH).status_code == 401
    assert Client().put(PATH, TO_TARGET, content_type="application/json").status_code == 401


def test_stolen_key_without_the_scope_admin_cannot_raise_the_cap(
    organization: Organization, saved_card: SavedCard, alice: User
) -> None:
    automatic_topups.turn_on(organization, person=alice, threshold_cents=500, amount_cents=500, monthly_cap_cents=500)
    _, key = api_keys.issue(organization, name="stolen", by=None, scopes=["transcribe", "chat", "read", "billing"])
    stolen = Api(key)
    assert stolen.get(PATH).status_code == 200
    assert send(stolen, TO_TARGET).status_code == 403
    assert stolen.client.delete(PATH, headers={"X-API-Key": key}).status_code == 403
    assert automatic_topups.settings_of(organization).monthly_cap_cents == 500


def test_stranger_sees_and_changes_only_their_own(
    admin: Api, saved_card: SavedCard, charlies: Organization, organization: Organization
) -> None:
    send(admin, TO_TARGET)
    stranger = Api(api_keys.issue(charlies, name="admin", by=None, scopes=["admin"])[1])
    assert stranger.get(PATH).json()["is_on"] is False
    assert send(stranger, TO_TARGET).status_code == 409
    stranger.client.delete(PATH, headers={"X-API-Key": stranger.key})
    assert automatic_topups.settings_of(organization).is_on
