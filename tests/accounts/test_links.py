"""Addresses of pages, with their organization and without."""

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from django.urls import NoReverseMatch, reverse

from accounts import links
from accounts.models import Organization, User

ACME = uuid.UUID("0a0e4c1c-53f5-4b0b-8a0e-4f3f0a3f2b11")
JOB = uuid.UUID("9f4c2f54-6a1e-4a8e-9f7e-0d4f5b1c7a11")


def test_page_of_an_organization_has_it_in_the_address() -> None:
    assert links.page_url(ACME, "keys") == f"/o/{ACME}/keys/"
    assert links.page_url(ACME, "transcript-download", JOB, "srt") == f"/o/{ACME}/transcripts/{JOB}/download/srt/"
    assert links.page_url(ACME, "billing:ledger-csv") == f"/o/{ACME}/billing/ledger.csv"


def test_page_of_ones_own_organization_has_none() -> None:
    assert links.page_url(None, "keys") == "/keys/"
    assert links.page_url(None, "transcript", JOB) == f"/transcripts/{JOB}/"


def test_forgotten_organization_is_an_error_and_not_another_page() -> None:
    for name in links.names():
        with pytest.raises(NoReverseMatch):
            reverse(name)
    with pytest.raises(NoReverseMatch):
        reverse("transcript", args=[JOB])


def test_page_of_no_organization_has_no_address_with_one() -> None:
    assert {"pricing", "docs", "organization-new", "invitation", "account_email", "v1-jobs"}.isdisjoint(links.names())
    with pytest.raises(NoReverseMatch):
        links.page_url(ACME, "pricing")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/o/{ACME}/keys/", "/keys/"),
        (f"/o/{ACME}/", "/"),
        ("/keys/", "/keys/"),
        ("/organization/", "/organization/"),
        ("/o/", "/o/"),
        ("", ""),
    ],
)
def test_path_within_an_organization(path: str, shown: str) -> None:
    assert links.within_organization(path) == shown


def test_visitor_has_no_organization(rf: RequestFactory, alice: User, organization: Organization) -> None:
    request = rf.get("/docs/")
    assert links.organization_id_of(None) is None
    assert links.organization_id_of(request) is None
    request.user = AnonymousUser()
    assert links.organization_id_of(request) is None
    request.user, request.session = alice, {}  # type: ignore[assignment]  # as the middleware sets them
    assert links.organization_id_of(request) == organization.pk
