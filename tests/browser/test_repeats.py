"""Impatient people: double clicks, Reload, Back, the address of a form, in a real browser on the real product."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

KEY = re.compile(r"^vxp_live_[0-9A-Za-z]{38}$")
TRANSCRIPTION_MS = 240_000


def fill_key(page: Page, site: str, name: str) -> None:
    page.goto(f"{site}/keys/")
    page.get_by_label("Name").fill(name)


def test_reload_and_back_after_a_new_key_make_no_other_one(person: Page, site):
    fill_key(person, site, "reloaded")
    person.get_by_role("button", name="Create key").click()
    expect(person.get_by_label("New API key")).to_have_value(KEY)
    rows = person.get_by_role("row", name=re.compile("reloaded"))
    expect(rows).to_have_count(1)
    person.reload()
    expect(person.get_by_label("New API key")).to_have_count(0)
    expect(rows).to_have_count(1)
    person.go_back()
    person.go_forward()
    expect(rows).to_have_count(1)


@pytest.mark.parametrize("javascript", [True, False])
def test_double_click_makes_one_key_and_shows_it(open_window, signed_in, site, javascript):
    page = open_window(storage_state=signed_in, java_script_enabled=javascript)
    name = f"clicked-{javascript}"
    fill_key(page, site, name)
    page.get_by_role("button", name="Create key").dblclick()
    expect(page.get_by_label("New API key")).to_have_value(KEY)
    expect(page.get_by_role("row", name=re.compile(name))).to_have_count(1)


@pytest.mark.parametrize("javascript", [True, False])
def test_double_click_rotates_a_key_once_and_shows_the_secret_that_works(open_window, signed_in, site, javascript):
    page = open_window(storage_state=signed_in, java_script_enabled=javascript)
    fill_key(page, site, f"rotated-{javascript}")
    page.get_by_role("button", name="Create key").click()
    old = page.get_by_label("New API key").input_value()
    page.get_by_role("link", name=f"Manage rotated-{javascript}").click()
    page.get_by_role("button", name="Rotate key").dblclick()
    expect(page.get_by_label("New API key")).to_have_value(KEY)
    new = page.get_by_label("New API key").input_value()
    assert new != old
    # A second rotation would have ended the old one, and the page would show a secret that was replaced.
    for secret in (old, new):
        assert page.request.get(f"{site}/v1/usage", headers={"X-API-Key": secret}).status == 200


def test_form_from_the_way_back_is_not_sent_again(person: Page, site):
    """Back to a form that the browser has kept as it was filled in, and once more on the button."""
    person.goto(f"{site}/webhooks/new/")
    person.get_by_label("URL").fill("http://127.0.0.1:9/sent-again")
    with person.expect_request(lambda request: request.method == "POST") as sent:
        person.get_by_role("button", name="Add endpoint").click()
    expect(person.get_by_role("heading", name="http://127.0.0.1:9/sent-again")).to_be_visible()
    # Chromium fetches the page anew on the way back. Other browsers keep the form, and this is what they send then.
    form = {"Content-Type": sent.value.headers["content-type"], "Referer": sent.value.url}
    again = person.request.post(sent.value.url, headers=form, data=sent.value.post_data)
    assert again.url == person.url
    person.goto(f"{site}/webhooks/")
    expect(person.get_by_role("link", name="http://127.0.0.1:9/sent-again")).to_have_count(1)


@pytest.mark.parametrize("javascript", [True, False])
def test_double_click_on_delete_deletes_and_says_so(open_window, signed_in, site, javascript):
    page = open_window(storage_state=signed_in, java_script_enabled=javascript)
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("heading", name="sentence-slt.wav")).to_be_visible()
    address = page.url
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete permanently").dblclick()
    expect(page.get_by_role("heading", name="Transcripts", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("deleted, with its recording|no longer exists"))).to_be_visible()
    assert page.request.get(address).status == 404


def test_address_of_a_form_leads_to_its_page(person: Page, site):
    person.goto(f"{site}/organization/invite/")
    expect(person).to_have_url(re.compile(r"/o/[0-9a-f-]{36}/organization/$"))
