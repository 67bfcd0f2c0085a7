"""Somebody who has no account is invited, and joins."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def open_mail_to(page: Page, site: str, email: str, *, link: str) -> None:
    """Follow a link in the newest mail to somebody, as development keeps it."""
    page.goto(f"{site}/dev/mail/")
    page.get_by_role("row", name=email).get_by_role("link").first.click()
    page.get_by_role("link", name=link).click()


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
