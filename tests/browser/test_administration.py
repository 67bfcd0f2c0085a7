"""What people do beside their recordings: look up a failed request, choose their emails, rename, delete and restore."""

import time

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, sign_up
from tests.browser.test_second_factors import confirm_password
from tests.browser.test_transcripts import TRANSCRIPTION_MS, transcribe

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
MAIL_SECONDS = 90


def test_refused_request_is_found_by_its_id(person: Page, site):
    person.goto(f"{site}/keys/")
    person.get_by_label("Name").fill("debugging")
    person.get_by_role("button", name="Create key").click()
    key = person.get_by_label("New API key").input_value()
    refused = requests.get(f"{site}/v1/jobs/none", headers={"X-API-Key": key}, timeout=10)
    request_id = refused.headers["X-Request-Id"]
    row = person.get_by_role("row", name=request_id)
    deadline = time.monotonic() + 30
    while True:
        # The log is written a second later.
        person.goto(f"{site}/requests/")
        person.get_by_role("searchbox", name="Search").fill(request_id)
        person.get_by_role("button", name="Show").click()
        if row.count():
            break
        assert time.monotonic() < deadline
    expect(row).to_contain_text("GET /v1/jobs/none")
    expect(row).to_contain_text("404")
    expect(row).to_contain_text(refused.json()["error"]["type"])
    expect(row).to_contain_text("debugging")
    expect(person.locator("tbody tr")).to_have_count(1)


def test_email_is_sent_about_a_ready_transcript_to_those_who_want_it(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    page.goto(f"{site}/accounts/mails/")
    page.get_by_role("group", name="A transcript is ready").get_by_label("Always").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("group", name="A transcript is ready").get_by_label("Always")).to_be_checked()
    transcribe(page, site)
    row = page.get_by_role("row", name=email).filter(has_text="Ready: ")
    deadline = time.monotonic() + MAIL_SECONDS
    while True:
        page.goto(f"{site}/dev/mail/")
        if row.count():
            break
        assert time.monotonic() < deadline
        page.wait_for_timeout(1_000)
    row.get_by_role("link").click()
    page.get_by_role("link", name="/transcripts/").click()
    page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)


def test_organization_is_renamed_exported_deleted_and_restored(open_window, site):
    page = open_window()
    sign_up(page, site)
    page.goto(f"{site}/organization/")
    page.get_by_label("Organization name").fill("North Wind Radio")
    page.get_by_role("button", name="Save name").click()
    expect(page.get_by_role("heading", name="Members of North Wind Radio")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download everything").click()
    assert download.value.suggested_filename.endswith(".zip")
    page.get_by_role("link", name="Delete North Wind Radio").click()
    page.get_by_label("Type the name of the organization to confirm").fill("South Wind Radio")
    page.get_by_role("button", name="Delete North Wind Radio").click()
    expect(page.get_by_text("This is not the name")).to_be_visible()
    page.get_by_label("Type the name of the organization to confirm").fill("North Wind Radio")
    page.get_by_role("button", name="Delete North Wind Radio").click()
    expect(page.get_by_text("North Wind Radio is deleted")).to_be_visible()
    page.goto(f"{site}/organization/deleted/")
    page.get_by_role("button", name="Restore North Wind Radio").click()
    expect(page.get_by_text("North Wind Radio is restored")).to_be_visible()
    page.goto(f"{site}/organization/deleted/")
    expect(page.get_by_text("You have no deleted organizations")).to_be_visible()


def test_person_deletes_the_account_and_can_no_longer_sign_in(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    page.goto(f"{site}/accounts/delete/")
    confirm_password(page)
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_role("heading", name="Your account is deleted")).to_be_visible()
    page.goto(f"{site}/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="This account is closed")).to_be_visible()
    page.goto(f"{site}/overview/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
