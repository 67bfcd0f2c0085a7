"""Links of templates, in pages of organizations and in others."""

import uuid

import pytest
from django.template import Context, RequestContext, Template
from django.test import RequestFactory
from django.urls import NoReverseMatch, resolve

from accounts import organizations
from accounts.models import Organization, User


@pytest.fixture
def acme(alice: User, organization: Organization) -> Organization:
    return organizations.create(name="Acme", owner=alice)


@pytest.fixture
def shown(rf: RequestFactory, alice: User, acme: Organization):
    """Render a template as a part of a page of Acme, or of the page at `path`."""

    def show(text: str, path: str = "", **values: object) -> str:
        request = rf.get(path or f"/o/{acme.pk}/keys/")
        request.user, request.session = alice, {}
        request.resolver_match = resolve(request.path)
        return Template(text).render(RequestContext(request, values))

    return show


def test_link_stays_in_the_organization_of_its_page(shown, acme) -> None:
    job_id = uuid.uuid4()
    assert shown("{% url 'overview' %}") == f"/o/{acme.pk}/overview/"
    assert shown("{% url 'transcript' job_id %}", job_id=job_id) == f"/o/{acme.pk}/transcripts/{job_id}/"
    assert shown("{% url name %}", name="billing:ledger") == f"/o/{acme.pk}/billing/ledger/"
    assert shown("{% url 'keys' as there %}[{{ there }}]") == f"[/o/{acme.pk}/keys/]"


def test_link_of_another_page_leads_to_the_persons_own(shown, organization) -> None:
    assert shown("{% url 'keys' %}", path="/docs/") == f"/o/{organization.pk}/keys/"


def test_link_may_name_another_organization(shown, organization) -> None:
    assert shown("{% url 'keys' organization_id=pk %}", pk=organization.pk) == f"/o/{organization.pk}/keys/"


def test_page_of_no_organization_is_linked_as_it_is(shown) -> None:
    assert (
        shown("{% url 'organization-new' %} {% url 'invitation' 'token' %}") == "/organization/new/ /invitations/token/"
    )


def test_mail_links_to_the_readers_own() -> None:
    assert Template("{% url 'keys' %}").render(Context()) == "/keys/"


def test_page_of_a_stranger_has_no_links_into_it(shown, charlies) -> None:
    assert shown("{% url 'keys' %}", path=f"/o/{charlies.pk}/keys/") == "/keys/"


def test_unknown_page_is_an_error(shown) -> None:
    with pytest.raises(NoReverseMatch):
        shown("{% url 'none' %}")
    with pytest.raises(NoReverseMatch):
        shown("{% url 'transcript' %}")
