"""Hebrew and Arabic read from right to left: text, cues while playing, clicks, corrections and what is exported."""

import itertools

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, download_as, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
# Where each word of a sentence stands on the screen, and when it is said. `data-words` has, of each word: characters
# between it and the one before, its length, milliseconds between both, and how long it is said.
BOXES = """(line) => {
    let at = 0, now = Number(line.dataset.start);
    return line.dataset.words.split(" ").map((word) => {
        const [skipped, length, pause, spoken] = word.split(",").map(Number);
        const range = document.createRange();
        range.setStart(line.firstChild, at + skipped);
        range.setEnd(line.firstChild, at + skipped + length);
        const box = range.getBoundingClientRect();
        const start = now + pause;
        at += skipped + length;
        now = start + spoken;
        return { text: range.toString(), left: box.left, right: box.right, top: box.top, bottom: box.bottom, start };
    });
}"""
SPOKEN = """() => [...CSS.highlights.get("spoken") ?? []].map((range) => {
    return range.startContainer.data.slice(range.startOffset, range.endOffset);
})"""


@pytest.fixture(params=["hebrew", "arabic"])
def page(request, open_window, stocked, site) -> Page:
    state, found = stocked
    page = open_window(storage_state=state)
    page.goto(f"{site}{found[request.param]}")
    return page


def line(page: Page, number: int):
    return page.locator(f"[data-line='{number}']")


def test_words_follow_each_other_from_right_to_left(page):
    for number in (0, 1):
        boxes = line(page, number).evaluate(BOXES)
        in_row = [(one, other) for one, other in itertools.pairwise(boxes) if one["top"] == other["top"]]
        assert len(in_row) >= 3
        assert all(other["right"] <= one["left"] + 1 for one, other in in_row), boxes
    paragraph = page.get_by_role("article").locator("p").first
    assert paragraph.evaluate("(one) => getComputedStyle(one).direction") == "rtl"
    # It begins at the right edge.
    edge = paragraph.bounding_box()
    assert abs(edge["x"] + edge["width"] - line(page, 0).evaluate(BOXES)[0]["right"]) <= 2


def test_click_plays_the_word_under_it_and_marks_it(page):
    boxes = line(page, 1).evaluate(BOXES)
    word = boxes[2]
    page.mouse.click((word["left"] + word["right"]) / 2, (word["top"] + word["bottom"]) / 2)
    wait_until(page, f"({SPOKEN})().length > 0")
    page.keyboard.press("Space")
    start_ms = word["start"]
    now_ms = page.evaluate("document.querySelector('audio').currentTime * 1000")
    assert start_ms <= now_ms < start_ms + 3_000
    page.evaluate(f"document.querySelector('audio').currentTime = {(start_ms + 100) / 1000}")
    wait_until(page, f"({SPOKEN})()[0] === {word['text']!r}")


def test_correction_is_typed_at_the_left_end_and_saved_in_the_order_of_speech(page):
    sentence = line(page, 0)
    before = sentence.inner_text()
    page.get_by_role("button", name="Edit", exact=True).click()
    sentence.click()
    page.keyboard.press("Control+End")
    page.keyboard.press("End")
    added = before.split()[0]
    page.keyboard.type(f" {added}")
    expect(page.locator("[data-saved]")).to_have_text("Saved")
    boxes = sentence.evaluate(BOXES)
    assert boxes[-1]["left"] == min(box["left"] for box in boxes if box["top"] == boxes[-1]["top"])
    page.reload()
    expect(line(page, 0)).to_have_text(f"{before} {added}")
    text = download_as(page, "Text").path().read_text()
    assert f"{before} {added}" in text.replace("\u200f", "").replace("\u2067", "").replace("\u2069", "")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("which", ["hebrew", "arabic"])
def test_nothing_is_cut_off_and_the_names_stay_beside_their_words(open_window, stocked, site, which, size):
    state, found = stocked
    page = open_window(storage_state=state, viewport=size)
    page.goto(f"{site}{found[which]}")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    turn = page.locator(".turn").first
    name, text = turn.locator(".who").bounding_box(), turn.locator("p").bounding_box()
    overlaps = (
        name["x"] < text["x"] + text["width"]
        and text["x"] < name["x"] + name["width"]
        and name["y"] < text["y"] + text["height"]
        and text["y"] < name["y"] + name["height"]
    )
    assert not overlaps
