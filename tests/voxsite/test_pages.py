"""Landing, pricing, docs, overview, kept mail and the pages of last resort."""

import logging
import re

import pytest
from django.core import mail
from django.core.mail.backends.filebased import EmailBackend
from django.test import Client, RequestFactory
from django.urls import path

from accounts import api_keys
from tests.transcription.factories import make_job
from voxsite import health, pages, urls

PUBLIC = ["/", "/pricing/", "/docs/"]


@pytest.mark.parametrize(
    ("redis", "shown", "title"),
    [
        ("ok", "Operational", "All systems operational"),
        ("failed", "Down", "Some systems have problems"),
        ("The speech model is being loaded.", "Starting", "Some systems have problems"),
    ],
)
def test_status_is_told_to_people(db, settings, redis, shown, title):
    def look():
        if redis == "failed":
            raise TimeoutError
        if redis != "ok":
            raise health.NotReadyYet(redis)

    readiness = health.CachedChecks({name: lambda: None for name, _, _ in pages.PARTS} | {"redis": look})
    settings.ROOT_URLCONF = (path("status/", pages.status, {"readiness": readiness}), *urls.urlpatterns)
    page = Client().get("/status/").content.decode()
    assert title in page
    row = page.split("Live progress")[1].split("</tr>")[0]
    assert shown in row
    assert ("Progress is shown late" in row) is (redis != "ok")


def test_status_names_every_part_that_monitors_hear_of():
    assert {check for check, _, _ in pages.PARTS} == set(health.READINESS._checks)


@pytest.mark.long
def test_pages_name_the_address_for_support(alice, organization, client_of, settings):
    settings.SUPPORT_EMAIL = "help@example.org"
    assert 'href="mailto:help@example.org"' in Client().get("/").content.decode()
    assert 'href="mailto:help@example.org"' in client_of(alice).get("/overview/").content.decode()
    assert "help@example.org" in Client().get("/docs/").content.decode()


@pytest.mark.parametrize("path", PUBLIC)
def test_visitor_reads_the_public_pages_and_the_price(db, path):
    response = Client().get(path)
    assert response.status_code == 200
    page = response.content.decode()
    assert "$0.30" in page
    assert "Start free" in page


@pytest.mark.parametrize("path", [*PUBLIC, "/accounts/login/", "/accounts/signup/"])
def test_pages_obey_the_strict_content_policy(db, path):
    response = Client().get(path)
    policy = response["Content-Security-Policy"]
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert not re.search(r"<[^>]+\sstyle=", page)
    assert "<style" not in page
    assert not re.search(r"<[^>]+\son\w+=", page)


@pytest.mark.parametrize("language", ["curl", "Python", "Node"])
def test_landing_has_code_in_three_languages(db, language):
    assert f">{language}</label>" in Client().get("/").content.decode()


def test_docs_carry_the_first_characters_of_the_readers_key(alice, organization, client_of):
    assert "YOUR_API_KEY" in Client().get("/docs/").content.decode()
    row, key = api_keys.issue(organization, name="a", by=None)
    page = client_of(alice).get("/docs/").content.decode()
    assert f"X-API-Key: {row.prefix}..." in page
    assert key not in page


def test_overview_asks_visitors_to_sign_in(db):
    assert Client().get("/overview/").url == "/accounts/login/?next=/overview/"


def test_overview_leads_a_new_person_and_then_stops(alice, organization, client_of):
    client = client_of(alice)
    page = client.get("/overview/").content.decode()
    assert "First steps" in page
    assert "$1.00" in page
    api_keys.issue(organization, name="a", by=None)
    assert "First steps" in client.get("/overview/").content.decode()
    make_job(organization)
    page = client.get("/overview/").content.decode()
    assert "First steps" not in page
    assert "sentence-slt.wav" in page


def test_overview_shows_the_last_five_of_this_organization(alice, charlie, organization, client_of):
    for _ in range(6):
        make_job(organization)
    assert len(client_of(alice).get("/overview/").context["jobs"]) == 5
    assert client_of(charlie).get("/overview/").context["jobs"] == []


def test_member_is_not_asked_to_make_a_key(bob, organization, client_of):
    make_job(organization)
    assert "Make an API key" not in client_of(bob).get("/overview/").content.decode()


# --- Kept mail -------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(settings, tmp_path):
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    backend = EmailBackend()
    backend.send_messages(
        [
            mail.EmailMessage("First ☎", "Open https://example.com/a?b=c&d=e now <b>", to=["a@example.com"]),
            mail.EmailMessage("Second", "Nothing", to=["b@example.com"]),
        ]
    )
    return tmp_path / "mail"


def test_kept_mail_is_listed_newest_first(db, kept):
    page = Client().get("/dev/mail/").content.decode()
    assert page.index("Second") < page.index("First ☎")
    assert "a@example.com" in page


def test_kept_mail_has_links_to_click_and_nothing_to_run(db, kept):
    (file,) = kept.iterdir()
    page = Client().get(f"/dev/mail/{file.name}/").content.decode()
    assert 'href="https://example.com/a?b=c&amp;d=e"' in page
    assert "<b>" not in page.split("mail-text", 1)[1].split("</article>", 1)[0]
    assert "Nothing" in page


def test_no_mail_yet_is_no_error(db, settings, tmp_path):
    settings.EMAIL_FILE_PATH = str(tmp_path / "none")
    assert "No mail yet" in Client().get("/dev/mail/").content.decode()


@pytest.mark.parametrize("name", ["..%2f..%2fsecret-key", "secret-key", "%2e%2e", "x.log", ".."])
def test_no_other_file_can_be_read_as_mail(db, kept, name):
    (kept.parent / "secret-key").write_text("From: secret\n\nsecret")
    assert Client().get(f"/dev/mail/{name}/").status_code == 404


# --- Last resort -----------------------------------------------------------------------------------------------------


def test_unknown_address_has_our_look(db):
    response = Client().get("/nothing/here/")
    assert response.status_code == 404
    assert "Page not found" in response.content.decode()


def test_server_error_page_needs_no_database():
    # No database mark on this test: a query would fail it.
    response = pages.server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    assert "nothing was charged" in response.content.decode()


def test_form_without_its_token_is_refused_in_our_look(alice, organization, caplog):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    with caplog.at_level(logging.ERROR, logger="django.security.csrf"):
        response = client.post("/organization/new/", {"name": "Acme"})
    assert response.status_code == 403
    assert "Your session expired" in response.content.decode()
