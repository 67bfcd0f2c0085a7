"""Somebody who has no account is invited, and joins."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD
from tests.browser.test_transcripts import TRANSCRIPTION_MS
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def open_mail_to(page: Page, site: str, email: str, *, link: str) -> None:
    """Follow a link in the newest mail to somebody, as development keeps it."""
    page.goto(f"{site}/dev/mail/")
    page.get_by_role("row", name=email).get_by_role("link").first.click()
    page.get_by_role("link", name=link).click()


def test_second_invitation_with_another_role_is_refused_and_the_link_still_works(person: Page, open_window, site):
    email = "invited-twice@example.com"
    person.goto(f"{site}/organization/")
    form = person.get_by_role("region", name="Invite a member")
    form.get_by_label("Email").fill(email)
    form.get_by_role("button", name="Send invitation").click()
    expect(person.get_by_text(f"Invitation sent to {email}")).to_be_visible()
    form.get_by_label("Email").fill(email)
    form.get_by_label("Role").select_option("admin")
    form.get_by_role("button", name="Send invitation").click()
    expect(person.get_by_text(f"{email} is already invited as member")).to_be_visible()
    row = person.get_by_role("row", name=email)
    expect(row).to_contain_text("Member")
    page = open_window()
    open_mail_to(page, site, email, link="/invitations/")
    expect(page.get_by_role("link", name="Create an account")).to_be_visible()


def test_invited_stranger_signs_up_and_joins(person: Page, open_window, site):
    email = "invited-stranger@example.com"
    person.goto(f"{site}/organization/")
    person.get_by_label("Email").fill(email)
    person.get_by_role("button", name="Send invitation").click()
    expect(person.get_by_text(f"Invitation sent to {email}")).to_be_visible()

    page = open_window()
    open_mail_to(page, site, email, link="/invitations/")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    open_mail_to(page, site, email, link="accounts/confirm-email")
    page.get_by_role("button", name="Confirm address").click()
    page.get_by_role("button", name=re.compile("Join")).click()
    expect(page.get_by_text("Welcome to")).to_be_visible()

    # What members do every day, and what they leave to others.
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    page.get_by_role("button", name="Transcribe").click()
    page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    page.get_by_role("button", name="Edit").click()
    page.locator("[data-line]").first.click()
    page.keyboard.press("End")
    page.keyboard.type(" Thanks.")
    expect(page.locator("[data-saved]")).to_have_text("Saved")
    page.goto(f"{site}/billing/")
    expect(page.get_by_text("can top up, see the ledger and set limits")).to_be_visible()
    expect(page.get_by_role("link", name="Top up")).to_have_count(0)
    assert page.request.get(f"{site}/billing/top-up/").status == 403
