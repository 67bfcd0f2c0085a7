"""What a transcript shows beside its words: what a search found in it, and how loud each speaker is."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP, PHONE, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
MARKED = """(name) => [...CSS.highlights.get(name) ?? []].map((range) => {
    return range.startContainer.data.slice(range.startOffset, range.endOffset);
})"""
BACKGROUNDS = """() => [...document.querySelectorAll("article p, article [data-line]")]
    .map((one) => getComputedStyle(one).backgroundColor)
    .filter((color) => color !== "rgba(0, 0, 0, 0)")"""


@pytest.mark.parametrize("state", ["conversation", "monologue"])
@pytest.mark.parametrize("place", ["", "#found-1"])
def test_search_marks_its_words_and_no_more(open_window, stocked, site, state, place):
    """A monologue is one paragraph after the other of one person: a mark of a paragraph would be one of the page."""
    cookies, made = stocked
    page = open_window(storage_state=cookies)
    page.goto(f"{site}{made[state]}?q=thursday{place}")
    marked = page.evaluate(MARKED, "sought")
    assert len(marked) == (2 if state == "conversation" else 24)
    assert set(marked) == {"Thursday"}
    assert page.evaluate(MARKED, "sought-now") == ["Thursday"]
    assert page.evaluate(BACKGROUNDS) == []


def test_monologue_is_paragraphs_of_a_few_sentences_each_with_its_time(open_window, stocked, site):
    cookies, made = stocked
    page = open_window(storage_state=cookies)
    page.goto(f"{site}{made['monologue']}")
    times = page.locator("article .at").all_inner_texts()
    paragraphs = page.locator("article p").all_inner_texts()
    assert len(paragraphs) == len(times) == len(set(times)) > 5
    assert max(len(paragraph.split()) for paragraph in paragraphs) < 120
    expect(page.locator("article .who b")).to_have_count(1)


def test_search_marks_sentences_without_scripts_and_no_paragraph(open_window, stocked, site):
    cookies, made = stocked
    page = open_window(storage_state=cookies, java_script_enabled=False)
    page.goto(f"{site}{made['conversation']}?q=thursday#found-1")
    expect(page.locator("article [data-found]")).to_have_count(2)
    paragraph = page.locator("article p", has=page.locator("#found-1"))
    assert paragraph.evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("state", ["conversation", "shared-with-audio"])
def test_player_draws_each_speaker_in_the_color_of_the_name(open_window, stocked, site, state, size):
    cookies, made = stocked
    page = open_window(storage_state=cookies, viewport=size)
    page.goto(f"{site}{made[state]}")
    wave = page.locator("svg.wave")
    expect(wave).to_be_visible()
    assert wave.bounding_box()["width"] > 300
    drawn = page.eval_on_selector_all("svg.wave path[class]", "(all) => all.map((one) => getComputedStyle(one).stroke)")
    names = page.eval_on_selector_all(
        ".turn.is-first .who :is(b)", "(all) => all.map((one) => getComputedStyle(one).color)"
    )
    assert len(set(drawn)) == 3
    assert set(drawn) == set(names)


def test_click_on_the_drawing_goes_there(open_window, stocked, site):
    cookies, made = stocked
    page = open_window(storage_state=cookies)
    page.goto(f"{site}{made['conversation']}")
    wait_until(page, "document.querySelector('audio').readyState >= 1")
    box = page.locator("svg.wave").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    length_ms = int(page.locator("[data-position]").get_attribute("max"))
    wait_until(page, "document.querySelector('audio').currentTime > 0")
    at_ms = page.evaluate("Number(document.querySelector('[data-position]').value)")
    assert abs(at_ms - length_ms / 4) <= length_ms * 0.03


def test_page_without_sound_has_no_drawing(open_window, stocked, site):
    cookies, made = stocked
    page = open_window(storage_state=cookies)
    page.goto(f"{site}{made['no-speech']}")
    expect(page.get_by_role("heading", name="No speech found")).to_be_visible()
    expect(page.locator("svg.wave")).to_have_count(0)
