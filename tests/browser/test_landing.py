"""The sample of the landing page plays where it stands, and its words are marked as they are spoken."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_transcripts import marked, until

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def test_sample_plays_and_marks_the_word_that_is_spoken(open_window, site):
    page = open_window()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site}/")
    page.wait_for_load_state("networkidle")
    assert not [url for url in asked if "sample" in url], "nothing is loaded before somebody wants to hear it"
    play = page.get_by_role("button", name="Play")
    play.click()
    seen = set()
    until(lambda: seen.update(marked(page, "spoken")) or len(seen) > 2)
    said = re.findall(r"\S+", page.locator("[data-sample] .turn p").first.inner_text())
    assert seen <= set(said)
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(page.locator("[data-now]")).not_to_have_text("0:00")


def test_every_word_of_the_sample_has_its_time(open_window, site):
    page = open_window()
    page.goto(f"{site}/")
    turns = page.locator("[data-starts]").evaluate_all(
        "(all) => all.map((one) => [one.dataset.starts, one.querySelector('p').textContent])"
    )
    times = [int(time) for starts, _ in turns for time in starts.split()]
    assert times == sorted(times)
    assert len(turns) == 5
    for starts, text in turns:
        assert len(starts.split()) == len(text.split())


def test_sample_can_be_heard_without_scripts(open_window, site):
    page = open_window(java_script_enabled=False)
    page.goto(f"{site}/")
    link = page.get_by_role("link", name="Play")
    answer = page.request.get(f"{site}{link.get_attribute('href')}")
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg")
