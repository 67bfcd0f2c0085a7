"""The pages of webhooks in a real browser: from the first endpoint to its log, on a screen and on a phone."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE
from tests.transcription import remote

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

DELIVERY_MS = 15_000


@pytest.fixture
def receiver():
    with remote.running(b"thank you") as running:
        yield running


def add_endpoint(page: Page, site: str, url: str) -> None:
    page.goto(f"{site}/transcripts/")
    page.get_by_role("link", name="Webhooks").first.click()
    page.get_by_role("link", name="Add endpoint").first.click()
    page.get_by_label("URL").fill(url)
    page.get_by_label("Balance low").check()
    page.get_by_role("button", name="Add endpoint").click()


def shows_after_reloads(page: Page, text: str) -> None:
    """Wait for a text of a page that has no script to load itself again."""
    for _ in range(DELIVERY_MS // 500):
        if page.get_by_text(text).first.is_visible():
            return
        page.wait_for_timeout(500)
        page.reload()
    raise AssertionError(f"{text!r} does not come")


def test_endpoint_is_added_tried_changed_turned_off_and_deleted(person, site, receiver):
    add_endpoint(person, site, "ftp://example.com/hook")
    expect(person.locator(".error").first).to_be_visible()
    assert person.get_by_label("URL").input_value() == "ftp://example.com/hook"
    expect(person.get_by_label("Balance low")).to_be_checked()
    person.get_by_label("URL").fill(receiver.url("/whole"))
    person.get_by_text("Header for your server").click()
    person.locator("input[name=header_name]").fill("X-Key")
    person.locator("input[name=header_value]").fill("open sesame")
    person.get_by_role("button", name="Add endpoint").click()
    expect(person.get_by_role("heading", name=receiver.url("/whole"))).to_be_visible()

    person.get_by_role("button", name="Send test").click()
    expect(person.get_by_role("heading", name="webhook.test")).to_be_visible()
    shows_after_reloads(person, "Attempt 1")
    shows_after_reloads(person, "thank you")
    (asked,) = receiver.asked
    assert {name.lower(): value for name, value in asked.headers.items()}["x-key"] == "open sesame"
    expect(person.get_by_text("X-Key: (hidden)")).to_be_visible()
    assert "open sesame" not in person.content()
    person.get_by_role("button", name="Send again").click()
    shows_after_reloads(person, "Attempt 2")
    receiver.wait_for_requests(2)
    assert len({one.body for one in receiver.asked}) == 1

    person.get_by_role("link", name=receiver.url("/whole")).click()
    person.get_by_label("Description").fill("Accounting")
    person.get_by_role("button", name="Save").click()
    expect(person.get_by_text("Endpoint saved.")).to_be_visible()
    person.get_by_role("button", name="Turn off").click()
    expect(person.get_by_text("This endpoint is off.")).to_be_visible()
    expect(person.get_by_role("button", name="Send test")).to_be_disabled()
    person.get_by_role("button", name="Turn on").click()
    person.get_by_text("Delete", exact=True).click()
    person.get_by_role("button", name="Delete endpoint").click()
    expect(person.get_by_text("Endpoint deleted.")).to_be_visible()
    expect(person.get_by_text(receiver.url("/whole"))).to_have_count(0)


def test_answer_of_a_broken_receiver_stands_in_the_log(person, site, receiver):
    add_endpoint(person, site, receiver.url("/status?code=500"))
    person.get_by_role("button", name="Send test").click()
    shows_after_reloads(person, "The receiver answered 500.")
    person.get_by_role("link", name="Webhooks").first.click()
    person.get_by_role("link", name="All deliveries").click()
    person.get_by_role("link", name="Failed").click()
    expect(person.get_by_role("row", name=re.compile("webhook.test")).first).to_contain_text("Failed")
    person.get_by_role("link", name="Delivered").click()
    expect(person.get_by_text("code=500")).to_have_count(0)


def test_pages_fit_a_phone(person, site, receiver):
    add_endpoint(person, site, receiver.url("/whole?" + "x" * 300))
    person.set_viewport_size(PHONE)
    person.get_by_role("button", name="Send test").click()
    shows_after_reloads(person, "Attempt 1")
    for path in ("", "/webhooks/", "/webhooks/deliveries/", "/webhooks/new/"):
        if path:
            person.goto(f"{site}{path}")
        width = person.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], (path, width)
