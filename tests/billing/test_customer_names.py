"""A new name reaches Stripe, once, also when Stripe is away, refuses it or is told another one meanwhile."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from accounts import organizations
from accounts.models import Organization
from billing import closures, customer_names, periodic, stripe_calls
from billing.models.payments import Customer
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting


@pytest.fixture
def customer_id(stripe_sandbox: StripeSandbox, acme: Organization) -> str:
    return stripe_calls.customer_of(acme)


def name_at(stripe_sandbox: StripeSandbox, customer_id: str) -> str:
    name: str = stripe_sandbox.get(customer_id)["name"]
    return name


def tell() -> int:
    return customer_names.tell_stripe(now=timezone.now())


def test_new_name_reaches_stripe_once(stripe_sandbox: StripeSandbox, acme: Organization, customer_id: str) -> None:
    assert tell() == 0
    organizations.rename(acme, name="Acme & Söhne")
    periodic.tell_names()
    assert name_at(stripe_sandbox, customer_id) == "Acme & Söhne"
    assert stripe_sandbox.event("customer.updated")["data"]["previous_attributes"] == {"name": "Acme"}
    assert tell() == 0


def test_name_that_comes_back_is_told_again(
    stripe_sandbox: StripeSandbox, acme: Organization, customer_id: str
) -> None:
    """Stripe repeats its answer to an idempotency key for a day, and changes nothing then."""
    for name in ("Beta", "Acme", "Beta", "Acme"):
        organizations.rename(acme, name=name)
        assert tell() == 1
        assert name_at(stripe_sandbox, customer_id) == name


def test_stripe_that_is_away_is_told_when_it_is_back(
    stripe_sandbox: StripeSandbox, acme: Organization, customer_id: str
) -> None:
    organizations.rename(acme, name="Beta")
    with stripe_sandbox.failing("timeout"):
        assert tell() == 0
    assert tell() == 1
    assert name_at(stripe_sandbox, customer_id) == "Beta"


def test_renaming_that_is_undone_is_not_told(acme: Organization, customer_id: str) -> None:
    with transaction.atomic():
        organizations.rename(acme, name="Beta")
        transaction.set_rollback(True)
    assert tell() == 0


def test_organization_without_a_customer_is_not_told(stripe_sandbox: StripeSandbox, acme: Organization) -> None:
    organizations.rename(acme, name="Beta")
    assert tell() == 0
    assert name_at(stripe_sandbox, stripe_calls.customer_of(acme)) == "Beta"


def test_name_that_changes_while_stripe_is_told_is_told_too(
    stripe_sandbox: StripeSandbox, acme: Organization, customer_id: str
) -> None:
    organizations.rename(acme, name="Beta")

    def rename_meanwhile(perform: Perform, request: Request) -> Response:
        response = perform()
        if "Beta" in request.body:
            organizations.rename(acme, name="Gamma")
        return response

    with intercepting(rename_meanwhile):
        assert tell() == 1
    assert tell() == 1
    assert name_at(stripe_sandbox, customer_id) == "Gamma"
    assert tell() == 0


def test_customer_that_is_made_while_its_organization_is_renamed_gets_the_new_name(
    stripe_sandbox: StripeSandbox, acme: Organization
) -> None:
    def rename_meanwhile(perform: Perform, _: Request) -> Response:
        response = perform()
        organizations.rename(Organization.objects.get(pk=acme.pk), name="Beta")
        return response

    with intercepting(rename_meanwhile):
        customer_id = stripe_calls.customer_of(acme)
    assert name_at(stripe_sandbox, customer_id) == "Acme"
    assert tell() == 1
    assert name_at(stripe_sandbox, customer_id) == "Beta"


def test_refused_name_and_missing_customer_keep_no_other_waiting(
    stripe_sandbox: StripeSandbox, acme: Organization, rival: Organization, customer_id: str
) -> None:
    other_id = stripe_calls.customer_of(rival)
    refusal = {"error": {"type": "invalid_request_error", "code": "parameter_invalid", "message": "Not this name."}}

    def refuse(perform: Perform, request: Request) -> Response:
        return (json.dumps(refusal), 400, {}) if request.path.endswith(customer_id) else perform()

    for organization in (acme, rival):
        organizations.rename(organization, name="New")
    with intercepting(refuse):
        assert tell() == 1
        assert name_at(stripe_sandbox, other_id) == "New"
        assert tell() == 0
    assert customer_names.tell_stripe(now=timezone.now() + timedelta(hours=2)) == 1
    assert name_at(stripe_sandbox, customer_id) == "New"
    # One that was deleted at Stripe is asked about once.
    Customer.objects.filter(organization=acme).update(stripe_id="cus_of_nobody")
    organizations.rename(acme, name="Newer")
    assert tell() == 0
    assert not Customer.objects.exclude(name_due_at=None).exists()


def test_customer_at_whom_stripe_always_fails_keeps_no_other_waiting(
    stripe_sandbox: StripeSandbox, acme: Organization, rival: Organization, customer_id: str
) -> None:
    other_id = stripe_calls.customer_of(rival)

    def fail(perform: Perform, request: Request) -> Response:
        return ("{}", 500, {}) if request.path.endswith(customer_id) else perform()

    for organization in (acme, rival):
        organizations.rename(organization, name="New")
    with intercepting(fail):
        assert [tell(), tell()] == [0, 1]
    assert name_at(stripe_sandbox, other_id) == "New"
    assert tell() == 1
    assert name_at(stripe_sandbox, customer_id) == "New"


def test_name_of_a_deleted_organization_goes_from_stripe(
    stripe_sandbox: StripeSandbox, acme: Organization, customer_id: str
) -> None:
    Organization.objects.filter(pk=acme.pk).update(name="Deleted organization")
    assert closures.delete(acme, ends_at=float("inf"))
    assert tell() == 1
    assert name_at(stripe_sandbox, customer_id) == "Deleted organization"
