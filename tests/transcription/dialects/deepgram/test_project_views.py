"""`/v1/projects`: the organization of a key as Deepgram's command line asks for it."""

import uuid

import pytest
from django.test import Client

from accounts import api_keys
from accounts.models import Scope
from billing.models import Wallet

pytestmark = pytest.mark.django_db

STRANGE = uuid.UUID(int=7)


@pytest.fixture
def ask(organization):
    """Return a GET by a key, with the scopes that are named."""

    def get(path, *scopes):
        key = api_keys.issue(organization, name=str(uuid.uuid4()), by=None, scopes=scopes or api_keys.DEFAULT_SCOPES)[1]
        return Client().get(f"/v1/projects{path}", headers={"Authorization": f"Token {key}"})

    return get


def test_organization_is_the_one_project(ask, organization):
    answer = ask("")
    assert answer.status_code == 200
    assert answer.json() == {"projects": [{"project_id": str(organization.pk), "name": organization.name}]}
    assert ask(f"/{organization.pk}").json() == {
        "project_id": str(organization.pk),
        "name": organization.name,
        "mip_opt_out": True,
    }


def test_balance_is_what_can_be_spent(ask, organization):
    Wallet.objects.filter(organization=organization).update(balance_micros=12_345_678)
    assert ask(f"/{organization.pk}/balances").json() == {
        "balances": [
            {"balance_id": str(organization.pk), "amount": 12.345678, "units": "usd", "purchase_order_id": ""},
        ]
    }


@pytest.mark.parametrize("path", [f"/{STRANGE}", f"/{STRANGE}/balances", "/x", "/x/keys", "/", "x"])
def test_any_other_project_is_unknown(ask, path):
    answer = ask(path)
    assert (answer.status_code, answer.json()["err_code"]) == (404, "NOT_FOUND")


def test_balance_needs_a_scope_and_the_project_none(ask, organization):
    assert ask("", Scope.CHAT).status_code == 200
    refused = ask(f"/{organization.pk}/balances", Scope.CHAT)
    assert (refused.status_code, refused.json()["type"]) == (403, "insufficient_scope")


def test_without_a_key_there_is_nothing():
    answer = Client().get("/v1/projects")
    assert (answer.status_code, answer.json()["type"]) == (401, "missing_api_key")
