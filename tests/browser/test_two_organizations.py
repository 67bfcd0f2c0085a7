"""Two windows of one person in two organizations: each acts in the one that it shows."""

import itertools
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import DESKTOP, download_as, sign_up
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

OTHER = "Acme"
TRANSCRIPTION_MS = 90_000
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def owner(chromium: Browser, site: str) -> dict:
    """The cookies of somebody who owns two organizations. The session is theirs alone, as it remembers the last one."""
    context = chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    sign_up(page, site)
    page.goto(f"{site}/organization/new/")
    page.get_by_label("Name").fill(OTHER)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text(f"Switched to {OTHER}")).to_be_visible()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def windows(open_window: Callable[..., Page], owner: dict, site: str) -> tuple[Page, Page]:
    """A window in the first organization, and one whose `switch` opens the other."""
    first = open_window(storage_state=owner)
    second = first.context.new_page()
    first.goto(f"{site}/overview/")
    if shown(first) == OTHER:
        switch(first)
    second.goto(f"{site}/overview/")
    return first, second


def shown(page: Page) -> str:
    """Return the organization that the page shows."""
    return page.locator(".side .switcher summary .clip").inner_text()


def switch(page: Page) -> None:
    """Open the person's other organization."""
    before = shown(page)
    page.locator(".side .switcher summary").click()
    page.locator(".side .switcher-body .entry .clip").first.click()
    expect(page.locator(".side .switcher summary .clip")).not_to_have_text(before)


def follow(page: Page, name: str) -> None:
    """Open a page by the navigation."""
    entry = page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name=name, exact=True)
    entry.click()
    expect(entry).to_have_attribute("aria-current", "page")


def upload(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("heading", name="sentence-slt.wav")).to_be_visible()


def test_key_is_issued_in_the_organization_that_is_shown(windows):
    first, second = windows
    home, name = shown(first), f"key {next(numbers)}"
    follow(first, "Keys")
    switch(second)
    first.get_by_label("Name").fill(name)
    first.get_by_role("button", name="Create key").click()
    expect(first.get_by_label("New API key")).to_be_visible()
    assert shown(first) == home
    follow(second, "Keys")
    assert shown(second) == OTHER
    expect(second.get_by_text(name)).to_have_count(0)
    follow(first, "Keys")
    expect(first.get_by_text(name).first).to_be_visible()


def test_recording_is_uploaded_and_paid_in_the_organization_that_is_shown(windows):
    first, second = windows
    home = shown(first)
    follow(first, "Upload")
    switch(second)
    upload(first)
    assert shown(first) == home
    # The page asks for progress and loads itself anew at the end, in its own organization.
    first.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    assert shown(first) == home
    assert download_as(first, "Subtitles, SRT").suggested_filename == "sentence-slt.srt"
    follow(second, "Transcripts")
    assert shown(second) == OTHER
    expect(second.get_by_text("sentence-slt.wav")).to_have_count(0)


def test_transcript_that_is_shown_is_deleted_there(windows):
    first, second = windows
    home = shown(first)
    follow(first, "Upload")
    upload(first)
    first.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    address = first.url
    switch(second)
    first.get_by_text("Delete", exact=True).click()
    first.get_by_role("button", name="Delete permanently").click()
    expect(first.get_by_role("heading", name="Transcripts", exact=True)).to_be_visible()
    assert shown(first) == home
    assert first.request.get(address).status == 404


def test_money_goes_to_the_organization_that_is_shown(windows):
    first, second = windows
    home = shown(first)
    follow(first, "Billing")
    first.get_by_role("link", name="Top up").first.click()
    switch(second)
    first.get_by_label("Pay $50.00").check()
    first.get_by_role("button", name="Continue to payment").click()
    switch_back_and_forth(second)
    first.get_by_role("button", name="Pay $50.00").click()
    expect(first.get_by_role("heading", name="$50.00 paid")).to_be_visible()
    assert shown(first) == home
    follow(first, "Billing")
    expect(first.locator(".payments tbody tr")).to_have_count(1)
    follow(second, "Billing")
    assert shown(second) == OTHER
    expect(second.locator(".figure", has_text="Available").locator("b")).to_have_text("$0.00")


def switch_back_and_forth(page: Page) -> None:
    switch(page)
    switch(page)


def test_invitation_is_to_the_organization_that_is_shown(windows):
    first, second = windows
    home, email = shown(first), f"colleague{next(numbers)}@example.com"
    follow(first, "Members")
    switch(second)
    first.get_by_label("Email").fill(email)
    first.get_by_role("button", name="Send invitation").click()
    expect(first.get_by_text(f"Invitation sent to {email}")).to_be_visible()
    assert shown(first) == home
    expect(first.get_by_role("row", name=email)).to_be_visible()
    follow(second, "Members")
    assert shown(second) == OTHER
    expect(second.get_by_text(email)).to_have_count(0)


def test_back_and_reload_stay_in_the_organization_of_the_page(windows):
    first, second = windows
    home = shown(first)
    follow(first, "Transcripts")
    follow(first, "Keys")
    switch(second)
    first.go_back()
    assert shown(first) == home
    first.reload()
    assert shown(first) == home
    assert shown(second) == OTHER
