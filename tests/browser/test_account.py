"""A person's addresses and the sign-in: what is offered can be done, and what is refused says for how long and why."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_up
from tests.browser.test_second_factors import confirm_password, one_time_code, sign_in, sign_out

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def card(page: Page, address: str):
    return page.get_by_role("main").get_by_role("listitem").filter(has=page.get_by_text(address, exact=True))


def confirmation_of(page: Page, site: str, address: str) -> str:
    """Return the link of the newest mail to an address."""
    page.goto(f"{site}/dev/mail/")
    page.get_by_role("row", name=address).get_by_role("link").first.click()
    return str(page.get_by_role("link", name="accounts/confirm-email").get_attribute("href"))


def change_address(page: Page, site: str, *, old: str, new: str) -> None:
    """Add an address, confirm it, make it the primary one and remove the old one."""
    page.goto(f"{site}/accounts/email/")
    page.get_by_label("Email").fill(new)
    page.get_by_role("button", name="Add", exact=True).click()
    confirm_password(page)
    expect(card(page, new)).to_contain_text("not confirmed")
    page.goto(confirmation_of(page, site, new))
    page.get_by_role("button", name="Confirm address").click()
    page.goto(f"{site}/accounts/email/")
    page.get_by_role("button", name=f"Make primary {new}").click()
    confirm_password(page)
    expect(card(page, new)).to_contain_text("primary")
    page.get_by_role("button", name=f"Remove {old}").click()
    confirm_password(page)
    expect(card(page, old)).to_have_count(0)


def test_only_address_offers_nothing_that_is_not_possible_and_says_how_it_is_changed(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    page.goto(f"{site}/accounts/email/")
    expect(card(page, email)).to_contain_text("add the new address below, confirm it and make it primary")
    expect(card(page, email).get_by_role("button")).to_have_count(0)
    change_address(page, site, old=email, new=f"new-{email}")
    sign_out(page)
    sign_in(page, site, f"new-{email}")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_address_is_changed_with_a_second_factor(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    page.goto(f"{site}/accounts/2fa/totp/activate/")
    confirm_password(page)
    secret = page.locator("#authenticator_secret").input_value()
    page.locator("input[name=code]").fill(one_time_code(secret))
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_role("heading", name=re.compile("recovery", re.I)).first).to_be_visible()
    change_address(page, site, old=email, new=f"new-{email}")


def test_used_link_says_that_the_address_is_confirmed(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    link = confirmation_of(page, site, email)
    page.goto(link)
    expect(page.get_by_text(f"{email} is confirmed")).to_be_visible()
    other = open_window()
    other.goto(link)
    expect(other.get_by_role("heading", name="Your address is confirmed")).to_be_visible()
    expect(other.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()


def test_lockout_says_how_long_it_lasts_and_what_helps(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    sign_out(page)
    for _ in range(6):
        page.goto(f"{site}/accounts/login/")
        page.get_by_label("Email").fill(email)
        page.get_by_label("Password").fill("a wrong password 7")
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"Try again in \d+ minutes?"))
    expect(page.get_by_role("alert")).to_contain_text("reset your password or use a passkey")
