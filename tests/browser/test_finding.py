"""Old transcripts are found by what was said, named, filed and cleared away, with a script and without."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.test_transcripts import TRANSCRIPTION_MS, marked, second, transcribe, until
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def word(chromium: Browser, signed_in: dict, site: str) -> str:
    """A long word that the transcript of the signed-in person has. The first letter is one of a sentence or name."""
    context = chromium.new_context(viewport=DESKTOP, storage_state=signed_in)
    page = context.new_page()
    transcribe(page, site)
    words = re.findall(r"\w{5,}", page.get_by_role("article").locator("p").last.inner_text())
    context.close()
    return max(words, key=len)


def search(page: Page, site: str, word: str) -> None:
    page.goto(f"{site}/transcripts/")
    page.get_by_role("searchbox", name="Search").fill(word)
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_have_text(re.compile(word, re.IGNORECASE))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_word_is_found_and_the_transcript_opens_at_it(open_window, signed_in, site, word, size):
    page = open_window(viewport=size, storage_state=signed_in)
    search(page, site, word.upper())
    page.locator("a.excerpt").first.click()
    expect(page.get_by_role("article")).to_be_visible()
    until(lambda: [found.lower() for found in marked(page, "sought-now")] == [word.lower()])
    assert second(page) > 0, "the player waits at the word"
    expect(page.locator("#found-1")).to_be_in_viewport()
    page.get_by_role("link", name="Clear search").click()
    expect(page.get_by_text("Clear search")).to_have_count(0)
    assert marked(page, "sought") == []


def test_word_is_found_without_scripts(open_window, signed_in, site, word):
    page = open_window(java_script_enabled=False, storage_state=signed_in)
    search(page, site, word)
    page.locator("a.excerpt").first.click()
    expect(page.locator("#found-1")).to_be_in_viewport()
    assert page.locator("#found-1").evaluate("line => getComputedStyle(line).backgroundColor") != "rgba(0, 0, 0, 0)"


def test_new_name_and_tag_find_it_again(person, site):
    transcribe(person, site)
    naming = person.locator(".naming")
    naming.get_by_text("Name and tags").click()
    naming.get_by_label("Name", exact=True).fill("Board meeting of May")
    naming.get_by_role("button", name="Rename").click()
    expect(person.get_by_role("heading", name="Board meeting of May")).to_be_visible()
    naming.get_by_text("Name and tags").click()
    naming.get_by_label("Add a tag").fill("board")
    naming.get_by_role("button", name="Add", exact=True).click()
    person.get_by_role("link", name="board", exact=True).click()
    expect(person.get_by_role("link", name="Board meeting of May")).to_be_visible()
    assert person.locator("tbody tr").count() == 1


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])
def test_several_are_downloaded_tagged_and_deleted(open_window, signed_in, site, has_scripts):
    writer = open_window(storage_state=signed_in)
    addresses = {transcribe(writer, site) for _ in range(2)}
    page = open_window(java_script_enabled=has_scripts, storage_state=signed_in)
    page.goto(f"{site}/transcripts/")
    actions = page.get_by_role("form", name="Selected transcripts")
    expect(actions).to_be_hidden()
    for address in addresses:
        page.locator(f'input[value="{address.rstrip("/").rpartition("/")[2]}"]').check()
    expect(actions).to_be_visible()
    expect(actions.get_by_role("status")).to_have_text("2 selected" if has_scripts else "Selected")
    actions.get_by_text("Download", exact=True).click()
    with page.expect_download() as download:
        actions.get_by_role("button", name="Download archive").click()
    assert download.value.suggested_filename == "transcripts-txt.zip"
    # What was open is in the way of nothing.
    actions.get_by_text("Download", exact=True).click()
    actions.get_by_text("Tag", exact=True).first.click()
    actions.get_by_label("Tag", exact=True).fill("to clear")
    actions.get_by_role("button", name="Add").click()
    expect(page.get_by_text("Tag “to clear” added")).to_be_visible()
    page.get_by_role("link", name="to clear").first.click()
    expect(page.locator("tbody tr")).to_have_count(2)
    if has_scripts:
        page.get_by_label("Select all").check()
    else:
        for box in page.locator("tbody input[type=checkbox]").all():
            box.check()
    actions.get_by_text("Delete", exact=True).click()
    actions.get_by_role("button", name="Delete permanently").click()
    expect(page.get_by_text("2 transcripts deleted")).to_be_visible()


def test_list_shows_a_recording_of_another_window_until_it_is_done(open_window, signed_in, site):
    page = open_window(storage_state=signed_in)
    page.goto(f"{site}/transcripts/")
    writer = open_window(storage_state=signed_in)
    writer.goto(f"{site}/transcripts/upload/")
    writer.locator("input[type=file]").set_input_files(
        {"name": "from elsewhere.wav", "mimeType": "audio/wav", "buffer": (AUDIO / "sentence-slt.wav").read_bytes()}
    )
    writer.get_by_role("button", name="Transcribe").click()
    row = page.get_by_role("row", name="from elsewhere.wav")
    expect(row).to_contain_text("Completed", timeout=TRANSCRIPTION_MS)


def test_choice_outlives_what_happens_elsewhere(open_window, signed_in, site, word):
    page = open_window(storage_state=signed_in)
    page.goto(f"{site}/transcripts/")
    box = page.locator("tbody input[type=checkbox]").first
    box.check()
    chosen = box.get_attribute("value")
    transcribe(open_window(storage_state=signed_in), site)
    # Not one row more: the list may have a full page.
    expect(box).not_to_have_value(chosen)
    expect(page.locator(f'input[value="{chosen}"]')).to_be_checked()
