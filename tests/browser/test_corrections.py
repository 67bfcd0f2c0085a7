"""A transcript is corrected in a real browser: text in place, by two people at once, offline, and who speaks."""

import json
import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PHONE, download_as
from tests.browser.test_transcripts import transcribe

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture
def own(person: Page, site: str) -> str:
    """The page of a transcript that no other test corrects: five sentences of two speakers."""
    return transcribe(person, site)


def line(page: Page, number: int):
    return page.locator(f"[data-line='{number}']")


def correct(page: Page, number: int, text: str) -> None:
    if page.get_by_role("button", name="Edit", exact=True).is_visible():
        page.get_by_role("button", name="Edit", exact=True).click()
    line(page, number).click()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


def saved(page: Page):
    return page.locator("[data-saved]")


def saves(page: Page) -> list[str]:
    """Return a list of the bodies of all saves from now on, which grows with them."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data) if "/sentences/" in request.url else None)
    return sent


def exported(page: Page, name: str) -> str:
    return download_as(page, name).path().read_text()


def test_sentence_saves_itself_and_is_in_exports_after_a_reload(person, own):
    words = line(person, 1).get_attribute("data-words")
    correct(person, 1, "Can we meet on Tuesday afternoon?")
    expect(saved(person)).to_have_text("Saved")
    # As many words as before, each at its time.
    times = [word.split(",")[2:4] for word in line(person, 1).get_attribute("data-words").split()]
    assert times == [word.split(",")[2:4] for word in words.split()]
    person.reload()
    expect(line(person, 1)).to_have_text("Can we meet on Tuesday afternoon?")
    assert "Speaker 2: Can we meet on Tuesday afternoon?" in exported(person, "Text")


def test_undo_brings_the_text_back(person, own):
    before = line(person, 0).inner_text()
    correct(person, 0, "Something else")
    expect(saved(person)).to_have_text("Saved")
    person.get_by_role("button", name="Undo").click()
    expect(line(person, 0)).to_have_text(before)
    expect(person.get_by_role("button", name="Undo")).to_be_disabled()
    person.reload()
    expect(line(person, 0)).to_have_text(before)


def test_undo_takes_back_what_is_still_being_saved(person, own):
    before = line(person, 1).inner_text()
    correct(person, 0, "The older one.")
    expect(saved(person)).to_have_text("Saved")
    held: list[Route] = []
    person.route("**/sentences/**", lambda route: held.append(route))
    correct(person, 1, "The last one.")
    person.get_by_role("button", name="Undo").click()
    while not held:
        person.wait_for_timeout(20)
    held[0].continue_()
    person.unroute("**/sentences/**")
    expect(line(person, 1)).to_have_text(before)
    expect(saved(person)).to_have_text("Saved")
    expect(line(person, 0)).to_have_text("The older one.")
    person.reload()
    expect(line(person, 0)).to_have_text("The older one.")
    expect(line(person, 1)).to_have_text(before)


def test_undo_without_connection_is_saved_later_and_is_no_new_step(person, own):
    before = line(person, 0).inner_text()
    correct(person, 0, "Something else")
    line(person, 1).click()
    expect(saved(person)).to_have_text("Saved")
    person.context.set_offline(True)
    person.get_by_role("button", name="Undo").click()
    expect(saved(person)).to_contain_text("Your text is still here")
    person.context.set_offline(False)
    expect(saved(person)).to_have_text("Saved", timeout=20_000)
    expect(person.get_by_role("button", name="Undo")).to_be_disabled()
    person.reload()
    expect(line(person, 0)).to_have_text(before)


def test_sentence_that_is_refused_is_not_sent_again_and_keeps_no_other(person, own):
    person.context.set_offline(True)
    correct(person, 1, "Too long")
    # Put in at once: 5,001 keys would take the test's time.
    line(person, 1).evaluate(
        """(line) => {
            line.textContent = "x".repeat(5001);
            line.dispatchEvent(new InputEvent("input", { bubbles: true }));
        }"""
    )
    correct(person, 2, "Short.")
    expect(line(person, 1)).to_have_text("x" * 5001)
    expect(saved(person)).to_contain_text("Your text is still here")
    sent = saves(person)
    person.context.set_offline(False)
    expect(saved(person)).to_contain_text("Not saved. A sentence", timeout=20_000)
    count = len(sent)
    person.wait_for_timeout(2500)
    assert len(sent) == count
    line(person, 1).focus()
    person.keyboard.press("Control+A")
    person.keyboard.type("Not too long.")
    expect(saved(person)).to_have_text("Saved")
    person.reload()
    expect(line(person, 1)).to_have_text("Not too long.")
    expect(line(person, 2)).to_have_text("Short.")


def test_replacing_in_a_long_transcript_is_sent_in_parts_and_undone_at_once(person, own):
    """The page is made long here, and its saves are answered here."""
    parts: list[int] = []

    def answer(route: Route) -> None:
        edits = json.loads(route.request.post_data)["edits"]
        parts.append(len(edits))
        lines = [edit | {"version": edit["version"] + 1, "words": ""} for edit in edits]
        route.fulfill(content_type="application/json", body=json.dumps({"lines": lines}))

    person.evaluate("""() => {
        const last = document.querySelector("[data-line='4']");
        for (let number = 454; number > 4; number -= 1) {
            const line = last.cloneNode();
            line.dataset.line = number;
            line.textContent = `Tango ${number}`;
            last.after(line);
        }
        reorder();
    }""")
    person.route("**/sentences/**", answer)
    person.get_by_role("button", name="Edit", exact=True).click()
    person.get_by_label("Find").fill("Tango")
    person.get_by_label("Replace with").fill("Foxtrot")
    person.get_by_role("button", name="Replace all").click()
    expect(saved(person)).to_have_text("Saved")
    assert parts == [200, 200, 50]
    person.get_by_role("button", name="Undo").click()
    expect(person.get_by_role("button", name="Undo")).to_be_disabled()
    expect(saved(person)).to_have_text("Saved")
    assert parts == [200, 200, 50] * 2
    expect(line(person, 454)).to_have_text("Tango 454")


def test_looking_at_a_sentence_changes_nothing(person, own):
    person.evaluate("""() => {
        document.querySelector("[data-line='1']").textContent = "Vraiment\\u00a0? \\u5168\\u3000\\u89d2";
    }""")
    sent = saves(person)
    person.get_by_role("button", name="Edit", exact=True).click()
    for number in (1, 2, 1, 0):
        line(person, number).click()
    person.get_by_role("button", name="Done", exact=True).click()
    person.wait_for_timeout(1500)
    assert sent == []


def test_blanks_are_written_as_they_are_typed(person, own):
    correct(person, 0, "Two  blanks ")
    assert line(person, 0).evaluate("line => line.textContent") == "Two  blanks "


def test_acts_stay_in_one_line_of_a_phone_while_the_text_is_edited_and_a_menu_is_open(person, own):
    person.set_viewport_size(PHONE)
    person.get_by_role("button", name="Edit", exact=True).click()
    acts = person.locator(".head .buttons :is(button, summary).button:visible")
    names = ["Done", "Copy", "Share", "Download", "Delete"]
    expect(acts).to_have_text(names)
    for opened in (None, "Share", "Download", "Delete"):
        if opened:
            person.locator(".head summary", has_text=opened).click()
        tops = {person.locator(".head .button", has_text=name).first.bounding_box()["y"] for name in names}
        assert len(tops) == 1, opened
        if opened:
            panel = person.locator(".head details[open] > .ask-body")
            box = panel.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            person.locator(".head summary", has_text=opened).click()


def test_find_and_replace_changes_all_at_once(person, own):
    person.get_by_role("button", name="Edit", exact=True).click()
    person.get_by_label("Find").fill("monday")
    expect(person.get_by_text("2 matches")).to_be_visible()
    person.get_by_label("Replace with").fill("Friday")
    person.get_by_role("button", name="Replace all").click()
    expect(saved(person)).to_have_text("Saved")
    person.reload()
    text = person.get_by_role("article").inner_text()
    assert text.count("Friday") == 2
    assert "monday" not in text


def test_second_of_two_people_sees_both_texts_and_chooses(person, own):
    other = person.context.new_page()
    other.goto(own)
    correct(person, 0, "I wrote this first.")
    expect(saved(person)).to_have_text("Saved")
    correct(other, 0, "I wrote this second.")
    expect(other.get_by_role("alert")).to_contain_text("I wrote this first.")
    expect(line(other, 0)).to_have_text("I wrote this second.")
    other.get_by_role("button", name="Keep mine").click()
    expect(saved(other)).to_have_text("Saved")
    person.reload()
    expect(line(person, 0)).to_have_text("I wrote this second.")
    correct(other, 1, "They wrote this.")
    expect(saved(other)).to_have_text("Saved")
    correct(person, 1, "Not this.")
    person.get_by_role("button", name="Use theirs").click()
    expect(line(person, 1)).to_have_text("They wrote this.")


def test_text_that_is_written_offline_is_saved_once_the_connection_is_back(person, own):
    person.context.set_offline(True)
    correct(person, 2, "Written offline.")
    expect(saved(person)).to_contain_text("Your text is still here")
    person.context.set_offline(False)
    expect(saved(person)).to_have_text("Saved", timeout=20_000)
    person.reload()
    expect(line(person, 2)).to_have_text("Written offline.")


def test_speaker_is_named_and_the_name_is_in_page_and_exports(person, own):
    colour = "name => getComputedStyle(name).color"
    before = person.locator(".speakers b").first.evaluate(colour)
    person.get_by_role("list", name="Speakers").locator("b", has_text="Speaker 1").click()
    person.get_by_role("list", name="Speakers").get_by_label("Name", exact=True).first.fill("Anna Müller")
    person.get_by_role("button", name="Rename").first.click()
    names = person.locator(".who b")
    expect(names).to_have_text(["Anna Müller", "Speaker 2", "Anna Müller", "Speaker 2", "Anna Müller"])
    assert names.first.evaluate(colour) == before
    assert exported(person, "Text").startswith("Anna Müller: ")
    assert "<v Anna Müller>" in exported(person, "Subtitles, WebVTT")


def test_speakers_are_merged_and_separated(person, own):
    person.get_by_role("list", name="Speakers").locator("b", has_text="Speaker 2").click()
    person.get_by_role("button", name="Merge").last.click()
    expect(person.get_by_text("Speaker 2 is merged into Speaker 1.")).to_be_visible()
    expect(person.locator(".who b")).to_have_text(["Speaker 1"])
    person.get_by_role("button", name="Separate").click()
    expect(person.locator(".who b").nth(1)).to_have_text("Speaker 2")


def test_sentence_is_given_to_somebody_new(person, own):
    person.get_by_role("article").get_by_role("button", name="Speaker 1").last.click()
    dialog = person.get_by_role("dialog")
    expect(dialog.get_by_role("checkbox")).to_be_checked()
    dialog.get_by_label("Speaker", exact=True).select_option("Someone else")
    dialog.get_by_label("Name").fill("Dr. Grey")
    dialog.get_by_role("button", name="Change speaker").click()
    expect(person.locator(".who b").last).to_have_text("Dr. Grey")
    assert re.search(r"^Dr\. Grey: ", exported(person, "Text"), re.MULTILINE)
