"""Second factors and passkeys in a real browser: a virtual authenticator stands for the person's device."""

import base64
import hmac
import re
import struct
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, sign_up

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def one_time_code(secret: str, *, ahead: int = 0) -> str:
    """Return the code of this half minute, or of one ahead (RFC 6238, SHA-1, six digits)."""
    counter = struct.pack(">Q", int(time.time()) // 30 + ahead)
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def add_authenticator(page: Page) -> None:
    """Plug in a device that says yes to everything (Chrome DevTools Protocol, WebAuthn domain)."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()


def sign_in(page: Page, site: str, email: str) -> None:
    page.goto(f"{site}/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm_password(page: Page) -> None:
    """Answer the question for the password that guards such changes, where it is asked."""
    if "reauthenticate" in page.url:
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()


def test_one_time_codes_guard_the_sign_in(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    page.goto(f"{site}/accounts/2fa/totp/activate/")
    confirm_password(page)
    secret = page.locator("#authenticator_secret").input_value()
    page.locator("input[name=code]").fill(one_time_code(secret))
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_role("heading", name=re.compile("recovery", re.I)).first).to_be_visible()
    sign_out(page)
    sign_in(page, site, email)
    code = page.get_by_label("Code")
    expect(code).to_be_visible()
    page.goto(f"{site}/overview/")
    # The password alone leads nowhere else.
    expect(code).to_be_visible()
    code.fill("000000")
    page.get_by_role("button", name="Sign In", exact=True).click()
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    # The code of the activation is used up; the next half minute's is not.
    code.fill(one_time_code(secret, ahead=1))
    page.get_by_role("button", name="Sign In", exact=True).click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_passkey_signs_in_without_a_password(open_window, site):
    page = open_window()
    sign_up(page, site)
    add_authenticator(page)
    page.goto(f"{site}/accounts/2fa/webauthn/add/")
    confirm_password(page)
    page.get_by_label("Name").fill("laptop")
    page.get_by_label("Sign in with this passkey only").check()
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_url(re.compile("recovery-codes|webauthn/$|2fa/$"))
    sign_out(page)
    page.goto(f"{site}/accounts/login/")
    page.locator("#passkey_login").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
