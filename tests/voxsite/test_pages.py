"""Landing, pricing, docs, overview, kept mail and the pages of last resort."""

import logging
import re

import pytest
from django.contrib.staticfiles import finders
from django.core import mail
from django.core.mail.backends.filebased import EmailBackend
from django.test import Client, RequestFactory
from django.urls import path
from django.utils import timezone

from accounts import api_keys
from billing import ledger
from tests.transcription.factories import make_job
from voxsite import health, pages, urls

PUBLIC = ["/", "/pricing/", "/docs/limits/"]


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
    assert "help@example.org" in Client().get("/docs/errors/").content.decode()


def test_pages_of_the_operator_are_linked_where_there_are_some(alice, organization, client_of, settings):
    for address in ("/", "/accounts/signup/"):
        page = Client().get(address).content.decode()
        assert not [word for word in (">Terms<", ">Privacy<", ">Security<", "you agree") if word in page]
    settings.TERMS_URL, settings.PRIVACY_URL = "https://example.org/terms", "https://example.org/privacy"
    settings.SECURITY_URL = "https://example.org/security"
    home = Client().get("/").content.decode()
    for name, address in (("Terms", "terms"), ("Privacy", "privacy"), ("Security", "security")):
        assert f'<a href="https://example.org/{address}">{name}</a>' in home
    for page in (Client().get("/accounts/signup/"), client_of(alice).get("/billing/top-up/")):
        shown = page.content.decode()
        assert 'you agree to the <a href="https://example.org/terms">Terms</a> and the <a href="https://' in shown
    settings.TERMS_URL = ""
    assert 'you agree to the <a href="https://example.org/privacy' in Client().get("/accounts/signup/").content.decode()


def test_sign_up_asks_for_a_password_in_one_line(db, settings):
    page = Client().get("/accounts/signup/").content.decode()
    assert f"At least {settings.MIN_PASSWORD_LENGTH} characters." in page
    assert "too similar" not in page


def test_closed_account_says_what_helps(db, settings):
    page = Client().get("/accounts/inactive/").content.decode()
    assert "This account is closed" in page
    assert f"mailto:{settings.SUPPORT_EMAIL}" in page


@pytest.mark.parametrize(
    ("query", "price", "says"),
    [
        ("hours=100&model=standard", "$30.00", "A payment of $30.00 covers it"),
        ("hours=700&model=standard", "$210.00", "A payment of $200.00, with its bonus of $10.00, covers it"),
        ("hours=0.01&model=premium", "$0.0", "A payment of $5.00 covers it"),
        ("hours=100000&model=standard", "$30,000.00", "It takes several payments"),
    ],
)
def test_pricing_says_what_so_much_audio_costs(db, settings, query, price, says):
    settings.PRICES_PER_HOUR_MICROS = {"standard": 300_000, "premium": 600_000}
    page = " ".join(Client().get(f"/pricing/?{query}").content.decode().split())
    assert f'<b class="sum number">{price}' in page
    assert says in page


@pytest.mark.parametrize("query", ["hours=&model=standard", "hours=-1&model=standard", "hours=1&model=x", "hours=1e9"])
def test_pricing_says_what_is_wrong_with_a_question(db, query):
    answer = Client().get(f"/pricing/?{query}")
    assert answer.status_code == 400
    assert 'class="error"' in answer.content.decode()


def test_pricing_has_the_prices_of_chat_and_the_bonus(db, settings):
    settings.APEX_MODELS = {
        "apex-one": {
            "upstream": "x",
            "prompt_micros": 310_000,
            "cached_prompt_micros": 30_000,
            "completion_micros": 450_000,
            "max_completion_tokens": 10,
        }
    }
    page = Client().get("/pricing/").content.decode()
    row = page.split("apex-one")[1].split("</tr>")[0]
    assert [price in row for price in ("$0.31", "$0.03", "$0.45")] == [True] * 3
    assert re.search(r"\$500\.00</td><td[^>]*>\$550\.00</td><td[^>]*>\$50\.00", page)


@pytest.mark.parametrize("path", PUBLIC)
def test_links_to_public_pages_are_shown_with_a_picture_and_words(db, path, settings):
    settings.SITE_URL = "https://voxsite.example"
    page = Client().get(path).content.decode()
    found = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', page))
    assert found["og:image"] == "https://voxsite.example/static/social.png"
    assert finders.find("social.png")
    assert found["twitter:card"] == "summary_large_image"
    assert found["og:title"].startswith("Voxsite")
    assert 40 <= len(found["description"]) <= 160


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


def test_overview_draws_what_the_last_days_cost_for_those_who_pay(alice, bob, organization, client_of):
    assert '<svg class="chart' not in client_of(alice).get("/overview/").content.decode()
    hold = ledger.reserve(organization, amount_micros=300_000, reference="job:1")
    ledger.settle(hold, actual_micros=300_000)
    page = client_of(alice).get("/overview/").content.decode()
    assert page.count('class="chart-fill"') == 1
    assert f"{timezone.now():%-d %B}: $0.30" in page
    assert '<svg class="chart' not in client_of(bob).get("/overview/").content.decode()


def test_overview_shows_the_last_five_of_this_organization(alice, charlie, organization, client_of):
    for _ in range(6):
        make_job(organization)
    assert len(client_of(alice).get("/overview/").context["jobs"]) == 5
    assert client_of(charlie).get("/overview/").context["jobs"] == []


def test_member_is_not_asked_to_make_a_key(bob, organization, client_of):
    make_job(organization)
    assert "Create an API key" not in client_of(bob).get("/overview/").content.decode()


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
