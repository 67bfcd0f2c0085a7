"""Everything that a customer does on a first day, by the keyboard alone."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PASSWORD
from tests.browser.test_transcripts import TRANSCRIPTION_MS
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
EMAIL = "keyboard@example.com"
# More steps than any of these pages has places for the focus.
MAX_STEPS = 120


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus. It must be visible there."""
    expect(wanted).to_be_visible()
    for _ in range(MAX_STEPS):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{MAX_STEPS} times Tab did not lead to {wanted}")


def press(page: Page, role: str, name: str) -> None:
    tab_to(page, page.get_by_role(role, name=name).first)
    page.keyboard.press("Enter")


def test_keyboard_alone_signs_up_uploads_corrects_and_pays(open_window, site):
    page = open_window()
    # Has Chromium hand over the dialogs for files from now on: asked for with the key, it may open one itself first.
    page.on("filechooser", lambda _: None)
    page.goto(f"{site}/")
    press(page, "link", "Start free")
    tab_to(page, page.get_by_label("Email"))
    page.keyboard.type(EMAIL)
    tab_to(page, page.get_by_label("Password"))
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    press(page, "link", "Open development mail")
    tab_to(page, page.get_by_role("row", name=EMAIL).get_by_role("link").first)
    page.keyboard.press("Enter")
    press(page, "link", "accounts/confirm-email")
    press(page, "button", "Confirm address")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    press(page, "link", "Upload")
    page.wait_for_url("**/transcripts/upload/")
    files = page.locator("input[type=file]")
    tab_to(page, files)
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(AUDIO / "sentence-slt.wav")
    tab_to(page, page.get_by_role("button", name="Transcribe", exact=True))
    page.keyboard.press("Enter")
    page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)

    tab_to(page, page.get_by_role("button", name="Edit"))
    page.keyboard.press("Enter")
    line = page.locator("[data-line]").first
    tab_to(page, line)
    page.keyboard.press("Home")
    page.keyboard.type("Corrected ")
    expect(page.locator("[data-saved]")).to_have_text("Saved")
    page.reload()
    expect(page.locator("[data-line]").first).to_contain_text("Corrected")

    press(page, "link", "Billing")
    page.wait_for_url("**/billing/")
    press(page, "link", "Top up")
    press(page, "button", "Continue to payment")
    press(page, "button", "Pay $")
    expect(page.get_by_role("link", name="Upload a recording")).to_be_visible()
