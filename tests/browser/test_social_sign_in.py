"""Signing up and in with GitHub in Chromium, whose content policy must let the form lead there, and removing it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_up
from tests.browser.test_second_factors import confirm_password, sign_out
from tests.identity_provider import Account

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def press(page: Page, name: str) -> None:
    """Press a button that leads to the provider, and agree there."""
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("heading", name="Authorize Voxsite")).to_be_visible()
    page.get_by_role("link", name="Continue").click()


def test_newcomer_signs_up_with_github_without_a_mail_and_comes_back(open_window, site, github):
    github.account = Account(uid=1, login="gina", addresses=(("gina@example.com", True),))
    page = open_window()
    page.goto(f"{site}/accounts/signup/")
    press(page, "Sign up with GitHub")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    sign_out(page)
    page.goto(f"{site}/accounts/login/")
    press(page, "Sign in with GitHub")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_member_connects_github_and_removes_it(open_window, site, github):
    github.account = Account(uid=2, login="hanna-codes", addresses=(("private@example.com", True),))
    page = open_window()
    sign_up(page, site)
    page.goto(f"{site}/accounts/email/")
    page.get_by_role("link", name="Connected accounts").click()
    press(page, "Connect GitHub")
    confirm_password(page)
    expect(page.get_by_text("hanna-codes").first).to_be_visible()
    expect(page.get_by_role("button", name="Connect GitHub")).to_have_count(0)
    page.get_by_role("button", name="Remove GitHub hanna-codes").click()
    confirm_password(page)
    expect(page.get_by_text("No accounts connected.")).to_be_visible()


def test_visitor_who_changes_their_mind_is_back_at_the_sign_in(open_window, site, github):
    page = open_window()
    page.goto(f"{site}/accounts/login/")
    page.get_by_role("button", name="Sign in with GitHub").click()
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("link", name="Back to sign-in").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
