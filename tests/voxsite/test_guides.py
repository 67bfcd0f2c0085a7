"""Pages for customers of other services: what they promise exists, and their code is valid."""

import re

import pytest
from django.test import Client
from django.urls import resolve

from accounts import api_keys
from accounts.gate.views import UnknownAddress
from voxsite import guides


@pytest.fixture(params=guides.GUIDES, ids=lambda guide: guide.slug)
def guide(request):
    return request.param


def test_address_is_served_and_documented(guide, db):
    view = resolve(guide.path).func.view_class
    assert not issubclass(view, UnknownAddress)
    document = Client().get("/openapi.json").json()
    assert guide.method.lower() in document["paths"][guide.path]


def test_code_is_filled_and_valid(guide):
    shown = guide.shown_for(site_url="https://voxsite.example", key="vxp_live_abc...")
    assert [language for language, _ in shown.examples] == ["curl", "Python", "Node"]
    for language, code in shown.examples:
        assert "https://voxsite.example" in code
        assert "vxp_live_abc..." in code
        assert "recording.mp3" in code
        assert not {guides.SITE, guides.KEY} & set(code.split('"'))
        if language == "Python":
            compile(code, guide.slug, "exec")
    assert "https://voxsite.example" in str(shown.changes)


def test_page_has_its_code_and_differences(guide, db):
    response = Client().get(f"/docs/from/{guide.slug}/")
    page = response.content.decode()
    assert response.status_code == 200
    assert f"Coming from {guide.origin}" in page
    assert "YOUR_API_KEY" in page
    assert "SITE_URL" not in page
    assert page.count("<li>") >= len(guide.differences)
    assert "`" not in page.partition("What differs")[2].partition("Good to know")[0]


def test_page_shows_the_first_characters_of_the_readers_key(guide, alice, organization, client_of):
    key, _ = api_keys.issue(organization, name="mine", by=alice)
    page = client_of(alice).get(f"/docs/from/{guide.slug}/").content.decode()
    assert f"{key.prefix}..." in page
    assert "Replace it with your full key" in page


@pytest.mark.parametrize("path", ["/", "/docs/"])
def test_home_page_and_docs_lead_to_every_page(path, db):
    page = Client().get(path).content.decode()
    for guide in guides.GUIDES:
        assert f'href="/docs/from/{guide.slug}/"' in page


def test_unknown_service_is_404(db):
    assert Client().get("/docs/from/nobody/").status_code == 404


def test_guides_are_found():
    assert [guides.named(one.slug) for one in guides.GUIDES] == list(guides.GUIDES)
    assert guides.named("x") is None


def test_every_text_is_shown():
    assert {path.stem for path in guides.TEXTS.iterdir()} == {one.slug for one in guides.GUIDES}


def test_code_of_receivers_has_the_address_and_the_organization():
    for language, code in guides.receivers(site_url="https://voxsite.example", organization_id="org-1"):
        assert "https://voxsite.example/.well-known/webhook-keys.json" in code
        assert "org-1" in code
        assert not {guides.SITE, guides.ORGANIZATION} & set(re.findall(r"\w+", code))
        if language == "Python":
            compile(code, "receiver.py", "exec")


def test_page_of_transcribeapi_has_the_code_of_receivers(db, organization, alice, client_of):
    path = "/docs/from/transcribeapi/"
    assert "YOUR_ORGANIZATION_ID" in Client().get(path).content.decode()
    page = client_of(alice).get(path).content.decode()
    assert "YOUR_ORGANIZATION_ID" not in page
    assert page.count(str(organization.pk)) >= 2
    guide = guides.named("transcribeapi")
    assert [language for language, _ in guide.receivers] == ["Python", "Node"]
    compile(dict(guide.receivers)["Python"], "receiver.py", "exec")


@pytest.mark.long
def test_docs_have_the_code_of_receivers(db, organization, alice, client_of):
    assert "YOUR_ORGANIZATION_ID" in Client().get("/docs/webhooks/").content.decode()
    assert str(organization.pk) in client_of(alice).get("/docs/webhooks/").content.decode()
