"""Every mail has an HTML version of its text, in which only addresses of this site lead anywhere."""

import email
import email.policy
import re

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from pytest_django import Settings

from accounts import mail_layout

SITE = "https://voxsite.example"


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    settings.SITE_URL = SITE


def links_of(text: str) -> list[tuple[str, str]]:
    """Return (class, address) of each link of the HTML version."""
    found = re.findall(r'<a (?:class="(\w+)" )?href="([^"]+)"', mail_layout.html_of(text, subject="x"))
    return [(kind, address) for kind, address in found]


def test_mail_has_both_and_keeps_the_rest() -> None:
    message = EmailMessage(
        "Ready: talk.mp3", "It is ready.\n", "us@example.com", ["a@example.com"], reply_to=["help@example.com"]
    )
    message.extra_headers["X-One"] = "1"
    sent = email.message_from_bytes(mail_layout.with_html(message).message().as_bytes(), policy=email.policy.default)
    assert sent.get_content_type() == "multipart/alternative"
    plain, html = sent.iter_parts()  # type: ignore[attr-defined]  # of email's modern messages
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_content() == "It is ready.\n"
    assert "It is ready." in html.get_content()
    assert [sent[name] for name in ("Subject", "From", "To", "Reply-To", "X-One")] == [
        "Ready: talk.mp3",
        "us@example.com",
        "a@example.com",
        "help@example.com",
        "1",
    ]


def test_message_that_has_html_already_and_one_without_text_stay_as_they_are() -> None:
    both = EmailMultiAlternatives("x", "text", to=["a@example.com"])
    both.attach_alternative("<p>own</p>", "text/html")
    for message in (both, EmailMessage("x", to=["a@example.com"])):
        assert mail_layout.with_html(message) is message


def test_line_with_a_colon_above_an_address_of_the_site_is_a_button() -> None:
    text = (
        f"Hello,\n\nYou signed up.\n\nConfirm your address:\n{SITE}/accounts/confirm-email/a:b-c/\n\nIgnore it else.\n"
    )
    assert links_of(text) == [("button", f"{SITE}/accounts/confirm-email/a:b-c/")]
    html = mail_layout.html_of(text, subject="Confirm")
    assert ">Confirm your address</a>" in html
    assert html.count("You signed up.") == 1


def test_other_addresses_of_the_site_are_links() -> None:
    assert links_of(f"Choose which mails you get: {SITE}/accounts/mails/.\n\nVoxsite\n{SITE}") == [
        ("", f"{SITE}/accounts/mails/"),
        ("", SITE),
    ]


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        f"{SITE}.evil.example/",
        f"{SITE}@evil.example/",
        "http://voxsite.example/",
        "javascript:alert(1)",
        f"{SITE}/ x",
    ],
)
@pytest.mark.parametrize("text", ["Open it now:\n{}", "Acme {} invited you", "- {}"])
def test_address_that_somebody_wrote_into_a_name_leads_nowhere(address: str, text: str) -> None:
    assert [one for _, one in links_of(text.format(address)) if one != f"{SITE}/"] == []


def test_text_is_shown_and_never_read_as_html() -> None:
    html = mail_layout.html_of('“<img src=x onerror="y">” & more', subject="</title><script>")
    assert "&lt;img src=x onerror=&quot;y&quot;&gt;” &amp; more" in html
    assert "<title>&lt;/title&gt;&lt;script&gt;</title>" in html


def test_points_are_a_list_and_lines_stay_lines() -> None:
    html = mail_layout.html_of("Made from:\n- Address: ::1\n\n- one\n- two", subject="x")
    assert re.findall(r"<li>(.*?)</li>", html) == ["one", "two"]
    assert "Made from:<br>- Address: ::1" in html
