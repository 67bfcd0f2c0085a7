"""A transcript in a real browser: it is read, heard in step, and copied."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.conftest import AUDIO, text_of

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

TRANSCRIPTION_MS = 240_000
MARKED = """name => [...(CSS.highlights.get(name) ?? [])]
    .map(range => range.startContainer.data.slice(range.startOffset, range.endOffset))"""


def transcribe(page: Page, site: str) -> str:
    """Upload a recording of 15 s, two speakers and five sentences, and return the address of its page."""
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files(AUDIO / "dialogue.mp3")
    page.get_by_role("button", name="Transcribe").click()
    page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    return page.url


@pytest.fixture(scope="module")
def address(chromium: Browser, signed_in: dict, site: str) -> str:
    """The page of a transcript that these tests share."""
    context = chromium.new_context(viewport=DESKTOP, storage_state=signed_in)
    address = transcribe(context.new_page(), site)
    context.close()
    return address


def marked(page: Page, name: str) -> list[str]:
    return page.evaluate(MARKED, name)


def second(page: Page) -> float:
    return page.evaluate("document.querySelector('audio').currentTime")


def until(is_so: Callable[[], bool]) -> None:
    """Wait for up to 10 s. Playwright's own wait evaluates text in the page, which its policy forbids."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def click_on(page: Page, word: str) -> None:
    """Click into the middle of a word of the text, which has no element of its own."""
    place = page.evaluate(
        """word => {
            for (const line of document.querySelectorAll("[data-line]")) {
                const at = line.textContent.indexOf(word);
                if (at < 0) continue;
                const range = new Range();
                range.setStart(line.firstChild, at);
                range.setEnd(line.firstChild, at + word.length);
                const box = range.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }
        }""",
        word,
    )
    page.mouse.click(*place)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])
def test_text_and_player_are_on_the_first_screen(open_window, signed_in, address, size, has_scripts):
    page = open_window(viewport=size, java_script_enabled=has_scripts, storage_state=signed_in)
    page.goto(address)
    first = page.get_by_role("article").locator("p").first.bounding_box()
    assert first["y"] < size["height"] / 2
    dock = page.get_by_role("region", name="Player").bounding_box()
    assert dock["y"] + dock["height"] <= size["height"]
    assert dock["x"] + dock["width"] <= size["width"]
    assert " ".join(page.get_by_role("article").locator("p").all_inner_texts()) == text_of("dialogue.mp3")


def test_word_that_is_spoken_is_marked_while_the_recording_plays(person, address):
    person.goto(address)
    person.get_by_role("button", name="Play").click()
    until(lambda: second(person) > 1)
    before = marked(person, "spoken")
    assert len(before) == 1
    until(lambda: second(person) > 2)
    assert marked(person, "spoken") != before
    person.get_by_role("button", name="Pause").click()
    expect(person.get_by_role("button", name="Play")).to_be_visible()


def test_click_on_a_word_plays_it(person, address):
    person.goto(address)
    click_on(person, "someone")
    expect(person.get_by_role("button", name="Pause")).to_be_visible()
    assert 9 < second(person) < 12.5
    person.keyboard.press(" ")
    expect(person.get_by_role("button", name="Play")).to_be_visible()


def test_keys_play_go_back_slow_down_and_find_unsure_words(person, address):
    person.goto(address)
    until(lambda: marked(person, "unsure"))
    unsure = marked(person, "unsure")
    person.keyboard.press("n")
    until(lambda: second(person) > 0)
    expect(person.get_by_role("status").filter(has_text="Unsure word")).to_have_text(f"Unsure word: {unsure[0]}")
    until(lambda: marked(person, "spoken") == [unsure[0]])
    was = second(person)
    person.keyboard.press("ArrowLeft")
    until(lambda: second(person) <= was - 2.9)
    person.keyboard.press("s")
    expect(person.get_by_role("button", name="0.75")).to_be_visible()
    assert person.evaluate("document.querySelector('audio').playbackRate") == 0.75
    person.keyboard.press(" ")
    expect(person.get_by_role("button", name="Pause")).to_be_visible()


def test_keys_can_be_turned_off(person, address):
    person.goto(address)
    person.get_by_role("region", name="Player").get_by_text("Keys", exact=True).click()
    person.get_by_label("Use these keys").uncheck()
    person.reload()
    person.keyboard.press("n")
    assert second(person) == 0
    person.get_by_role("region", name="Player").get_by_text("Keys", exact=True).click()
    person.get_by_label("Use these keys").check()


def test_copy_gives_the_text_with_speakers(person, address):
    person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.goto(address)
    person.get_by_role("button", name="Copy").click()
    expect(person.get_by_role("button", name="Copied")).to_be_visible()
    copied = person.evaluate("navigator.clipboard.readText()").split("\n\n")
    assert [line.split(": ")[0] for line in copied] == ["Speaker 1", "Speaker 2"] * 2 + ["Speaker 1"]
    assert re.sub(r"Speaker \d: ", "", " ".join(copied)) == text_of("dialogue.mp3")


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def test_printed_page_is_the_text_with_speakers_and_times_alone(person, address):
    person.goto(address)
    person.get_by_role("button", name="Edit", exact=True).wait_for()
    person.emulate_media(media="print")
    article = person.get_by_role("article")
    for shown in (
        person.get_by_role("heading", level=1),
        article,
        article.get_by_text("0:03"),
        article.locator("p").last,
    ):
        expect(shown).to_be_visible()
    expect(article.locator(".who b").first).to_be_visible()
    for hidden in (".side", ".bar", ".dock", ".ribbon", ".head .buttons", ".about", ".development", ".asking", "form"):
        assert [one for one in person.locator(hidden).all() if one.is_visible()] == [], hidden
    left = article.locator("p").first.bounding_box()["x"]
    assert left < 150, "the side bar leaves no gap"


def test_long_transcript_is_printed_to_its_end(person, address):
    """Paragraphs out of sight are not laid out on the screen. On paper they are."""
    person.goto(address)
    short = pages_of(person.pdf())
    assert short == 1
    person.evaluate("""() => {
        const last = document.querySelector(".turn:last-child");
        for (let number = 0; number < 200; number += 1) last.after(last.cloneNode(true));
    }""")
    # 205 paragraphs of one line beside two lines of name and time: some 20 on a page.
    assert 7 <= pages_of(person.pdf()) <= 20


def test_print_is_in_the_panel(person, address):
    person.goto(address)
    person.evaluate("window.print = () => { document.title = 'printed'; }")
    person.get_by_text("Download", exact=True).click()
    person.get_by_role("button", name="Print or save as PDF").click()
    expect(person).to_have_title("printed")
