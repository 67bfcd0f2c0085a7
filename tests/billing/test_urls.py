"""Every address of billing: who gets in, and by which method."""

import uuid
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from accounts.models import Organization, User
from billing import urls
from billing.models.payments import TopUp

# Members see the balance. All else is for owners and admins.
FOR_MEMBERS = {"billing"}
POST_ONLY = {
    "top-up-cancel",
    "automatic",
    "automatic-off",
    "card-remove",
    "low-balance",
    "limit",
    "alerts",
    "key-alerts",
}
NAMES = [str(pattern.name) for pattern in urls.urlpatterns]


def address(pattern: URLPattern, organization: Organization) -> str:
    ids = dict.fromkeys(pattern.pattern.converters, uuid.uuid4())
    return reverse(f"billing:{pattern.name}", kwargs={"organization_id": organization.pk, **ids})


@pytest.fixture(params=urls.urlpatterns, ids=NAMES)
def pattern(request: pytest.FixtureRequest) -> URLPattern:
    found: URLPattern = request.param
    return found


@pytest.mark.parametrize("method", ["get", "post"])
def test_visitor_is_sent_to_the_sign_in(organization: Organization, pattern: URLPattern, method: str) -> None:
    response = getattr(Client(), method)(address(pattern, organization))
    assert response.status_code == 302
    assert response.url.startswith("/accounts/login/?next=")


@pytest.mark.long
@pytest.mark.parametrize("method", ["get", "post"])
def test_member_reads_the_balance_and_nothing_else(
    bob: User, organization: Organization, client_of: Callable[[User], Client], pattern: URLPattern, method: str
) -> None:
    status = getattr(client_of(bob), method)(address(pattern, organization)).status_code
    if method == "get" and pattern.name in FOR_MEMBERS:
        assert status == 200
    else:
        assert status in {403, 404, 405}
    assert not TopUp.objects.exists()


def test_what_changes_something_refuses_get(
    alice: User, organization: Organization, client_of: Callable[[User], Client], pattern: URLPattern
) -> None:
    """A link, an image or a prefetching browser must not move money or change a limit."""
    status = client_of(alice).get(address(pattern, organization)).status_code
    assert (status == 405) == (pattern.name in POST_ONLY)


def test_form_of_another_site_is_refused(
    alice: User, organization: Organization, client_of: Callable[..., Client], pattern: URLPattern
) -> None:
    client = client_of(alice, enforce_csrf_checks=True)
    assert client.post(address(pattern, organization)).status_code in {403, 405}


@pytest.mark.parametrize(
    "topup_id", ["1", "x", "9f4c2f54-6a1e-4a8e-9f7e", "..", "9F4C2F54-6A1E-4A8E-9F7E-0D4F5B1C7A11"]
)
@pytest.mark.parametrize("page", ["top-up/{}/success/", "top-up/{}/pay/", "payments/{}/refund/"])
def test_id_that_is_none_is_not_found(
    alice: User, organization: Organization, client_of: Callable[[User], Client], page: str, topup_id: str
) -> None:
    assert client_of(alice).get(f"/billing/{page.format(topup_id)}").status_code == 404


@pytest.mark.parametrize("path", ["/v1/balance", "/v1/usage"])
def test_api_asks_for_a_key(db: None, path: str) -> None:
    assert Client().get(path).status_code == 401
