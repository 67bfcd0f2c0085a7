"""The docs are searched, linked to and read in color, and the pricing page reckons."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
MARKED = """(kind) => [...CSS.highlights.get(`code-${kind}`)].map((range) => {
    const text = range.startContainer.data;
    return text.slice(range.startOffset, range.endOffset);
})"""


def test_search_leads_to_the_section(open_window, site):
    page = open_window()
    page.goto(f"{site}/docs/")
    page.keyboard.press("/")
    field = page.get_by_role("searchbox", name="Search the docs")
    expect(field).to_be_focused()
    field.fill("x-ratelimit retry-after")
    expect(page.get_by_role("search").get_by_role("link").first).to_contain_text("Limits")
    field.press("Enter")
    expect(page).to_have_url(f"{site}/docs/limits/#limits")
    expect(page.locator("#limits h2")).to_be_in_viewport()
    field.fill("xylophone")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    field.press("Escape")
    expect(page.get_by_role("link", name="Webhooks").first).to_be_visible()


def test_search_shows_text_of_the_page_as_text(open_window, site):
    page = open_window()
    page.goto(f"{site}/docs/")
    page.get_by_role("searchbox").fill("<img src=x onerror=alert(1)>")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    assert page.locator("[data-docs-search] img").count() == 0


def test_heading_has_a_link_to_itself(open_window, site):
    page = open_window()
    page.goto(f"{site}/docs/recordings/")
    page.get_by_role("link", name="Link to “Batches”").click()
    expect(page).to_have_url(f"{site}/docs/recordings/#batches")


@pytest.mark.parametrize(("old", "new"), [("webhooks", "webhooks/#webhooks"), ("get_job", "native/#get_job")])
def test_link_to_a_section_of_the_one_page_of_before_leads_to_its_page(open_window, site, old, new):
    page = open_window()
    page.goto(f"{site}/docs/#{old}")
    expect(page).to_have_url(f"{site}/docs/{new}")
    expect(page.locator(f"#{old}")).to_be_in_viewport()


def test_next_and_previous_turn_the_pages(open_window, site):
    page = open_window()
    page.goto(f"{site}/docs/")
    page.get_by_role("link", name="Keys and browsers →").click()
    expect(page.get_by_role("heading", name="Keys and browsers", level=1)).to_be_visible()
    page.get_by_role("link", name="← Quick start").click()
    expect(page.get_by_role("heading", name="Quick start", level=1)).to_be_visible()


def test_code_has_colors_and_is_copied_without_them(open_window, site):
    page = open_window()
    page.goto(f"{site}/docs/")
    wait_until(page, "CSS.highlights.has('code-string')")
    assert "curl" in page.evaluate(MARKED, "keyword")
    assert "# 1. Send a recording" in page.evaluate(MARKED, "comment")
    strings = page.evaluate(MARKED, "string")
    assert '"file=@recording.mp3"' in strings
    # An address in a string is no comment.
    assert not any(text.startswith("//") for text in page.evaluate(MARKED, "comment") if "localhost" in text)
    assert page.locator("pre code *").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_contents_are_at_hand_without_scripts_too(open_window, site, width):
    page = open_window(java_script_enabled=False, viewport={"width": width, "height": 800})
    page.goto(f"{site}/docs/")
    link = page.locator(".docs-nav").get_by_text("Webhooks", exact=True)
    if width == 390:
        expect(link).to_be_hidden()
        page.get_by_text("Contents", exact=True).click()
    expect(link).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_hidden()


def test_calculator_reckons_without_scripts(open_window, site):
    page = open_window(java_script_enabled=False)
    page.goto(f"{site}/pricing/")
    page.get_by_label("Hours of audio").fill("700")
    page.get_by_label("Model").select_option("Standard")
    page.get_by_role("button", name="Calculate").click()
    expect(page.get_by_text(re.compile(r"\$210\.00 for 700 hours of Standard"))).to_be_visible()
    expect(page.get_by_text("A payment of $200.00, with its bonus of $10.00, covers it.")).to_be_visible()
