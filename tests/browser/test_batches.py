"""Several files at once, in a real browser on the real product: rows, broken connections, the batch, its archive."""

import wave
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

TRANSCRIPTION_MS = 90_000


def choose(page: Page, site: str, *files: Path) -> None:
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files(files)


def wait_for_the_end(page: Page) -> None:
    expect(page.locator("#progress")).to_have_count(0, timeout=TRANSCRIPTION_MS)


def test_several_files_are_one_batch_with_a_page_and_an_archive(person, site, tmp_path):
    broken = tmp_path / "notes.mp3"
    broken.write_bytes(b"just words, no sound\n" * 40)
    choose(person, site, AUDIO / "sentence-slt.m4a", broken, AUDIO / "silence.wav")
    person.get_by_role("button", name="Transcribe 3 files").click()
    expect(person.get_by_role("heading", name="sentence-slt.m4a and 2 others")).to_be_visible()
    wait_for_the_end(person)
    expect(person.get_by_role("row", name="sentence-slt.m4a")).to_contain_text("Completed")
    expect(person.get_by_role("row", name="notes.mp3")).to_contain_text("Failed")
    expect(person.get_by_role("row", name="silence.wav")).to_contain_text("Completed")
    person.get_by_text("Download all", exact=True).click()
    with person.expect_download() as download:
        person.get_by_role("link", name="Text", exact=True).click()
    assert download.value.suggested_filename.endswith("-txt.zip")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["sentence-slt.txt", "silence.txt", "not transcribed.txt"]
    person.get_by_role("link", name="silence.wav").click()
    expect(person.get_by_role("heading", name="No speech found")).to_be_visible()


def test_upload_is_paused_and_goes_on_when_its_person_says(person, site):
    # Neither answered nor broken: as long as the person wants.
    person.route("**/uploads/**", lambda _: None)
    choose(person, site, AUDIO / "sentence-slt.wav", AUDIO / "silence.wav")
    person.get_by_role("button", name="Transcribe 2 files").click()
    row = person.locator(".file", has_text="sentence-slt.wav")
    other = person.locator(".file", has_text="silence.wav")
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused")
    other.get_by_role("button", name="Pause").click()
    expect(other).to_contain_text("Paused")
    person.unroute("**/uploads/**")
    other.get_by_role("button", name="Resume").click()
    expect(other).to_contain_text("Uploaded")
    expect(row).to_contain_text("Paused")
    row.get_by_role("button", name="Resume").click()
    expect(person.get_by_role("heading", name="sentence-slt.wav and 1 other")).to_be_visible()


def test_paused_file_is_counted_among_those_that_a_batch_goes_on_without(person, site):
    hanging: list[str] = []

    def hang_first(route: Route) -> None:
        hanging.append(route.request.url)
        if len(hanging) > 1:
            route.continue_()

    # Refused as the site refuses a file, but with 200: Chromium's console calls other answers errors.
    person.route("**/files/0/", lambda route: route.fulfill(json={"message": "The file is refused."}))
    person.route("**/uploads/**", hang_first)
    choose(person, site, AUDIO / "dialogue.mp3", AUDIO / "sentence-slt.wav", AUDIO / "silence.wav")
    person.get_by_role("button", name="Transcribe 3 files").click()
    expect(person.get_by_text("The file is refused.")).to_be_visible()
    expect(person.get_by_text("Uploaded", exact=True)).to_have_count(1)
    person.get_by_role("button", name="Pause", exact=True).click()
    expect(person.get_by_role("button", name="Continue without 2 files")).to_be_enabled()
    person.once("dialog", lambda dialog: dialog.dismiss())
    with person.expect_event("dialog") as asked:
        person.evaluate("() => { setTimeout(() => { location.href = '/overview/'; }); }")
    assert asked.value.type == "beforeunload"
    person.get_by_role("button", name="Resume", exact=True).click()
    expect(person.get_by_text("Uploaded", exact=True)).to_have_count(2)
    person.get_by_role("button", name="Continue without 1 file").click()
    expect(person.get_by_role("heading", name="dialogue.mp3 and 2 others")).to_be_visible()


@pytest.mark.parametrize("ending", ["Resume", "Continue without 1 file"])
def test_file_that_is_added_while_another_is_paused_becomes_a_job_of_its_own(person, site, ending):
    """The batch was announced without it. It waits, and nothing is announced or left behind meanwhile."""
    hanging: list[str] = []
    begun: list[str] = []

    def hang_first(route: Route) -> None:
        hanging.append(route.request.url)
        if len(hanging) > 1:
            route.continue_()

    person.on("request", lambda request: begun.append(request.url) if request.url.endswith("/batches/") else None)
    person.route("**/uploads/**", hang_first)
    choose(person, site, AUDIO / "sentence-slt.wav", AUDIO / "silence.wav")
    person.get_by_role("button", name="Transcribe 2 files").click()
    expect(person.get_by_text("Uploaded", exact=True)).to_have_count(1)
    person.get_by_role("button", name="Pause", exact=True).click()
    paused = person.locator(".file", has_text="Paused")
    expect(paused).to_have_count(1)
    person.locator("input[type=file]").set_input_files(AUDIO / "dialogue.mp3")
    added = person.locator(".file", has_text="dialogue.mp3")
    expect(added).to_contain_text("Waits until the other files are sent")
    person.get_by_role("button", name=ending).click()
    # The page stays for the file that waits, and the others lead to their job.
    transcribe = person.get_by_role("button", name="Transcribe", exact=True)
    expect(transcribe).to_be_enabled()
    expect(added).not_to_contain_text("Waits")
    lead = person.locator(".file").get_by_role("link", name="Open", exact=True)
    expect(lead).to_have_count(2 if ending == "Resume" else 1)
    batch = lead.first.get_attribute("href")
    transcribe.click()
    expect(added).to_contain_text("Queued")
    person.goto(f"{site}{batch}")
    expect(person.get_by_role("heading", name="sentence-slt.wav and 1 other")).to_be_visible()


def test_file_whose_connection_breaks_is_sent_again_and_the_others_are_not_stopped(open_window, signed_in, site):
    person = open_window(storage_state=signed_in)
    faults = {"left": 2}

    def break_first(route: Route) -> None:
        if faults["left"]:
            faults["left"] -= 1
            route.abort("connectionreset")
        else:
            route.continue_()

    person.route("**/uploads/**", break_first)
    choose(person, site, AUDIO / "sentence-slt.wav", AUDIO / "silence.wav")
    person.get_by_role("button", name="Transcribe 2 files").click()
    expect(person.get_by_role("heading", name="sentence-slt.wav and 1 other")).to_be_visible()
    assert faults["left"] == 0
    wait_for_the_end(person)
    expect(person.get_by_role("row", name="sentence-slt.wav")).to_contain_text("Completed")


@pytest.mark.parametrize("way_on", ["Retry", "Continue without 1 file"])
def test_file_that_cannot_be_sent_can_be_tried_again_or_left_out(person, site, way_on):
    broken: list[str] = []

    def break_one(route: Route) -> None:
        address = route.request.url.split("?")[0]
        broken.append(address)
        if address == broken[0]:
            route.abort("connectionreset")
        else:
            route.continue_()

    person.route("**/uploads/**", break_one)
    choose(person, site, AUDIO / "sentence-slt.wav", AUDIO / "silence.wav")
    person.get_by_role("button", name="Transcribe 2 files").click()
    expect(person.get_by_text("Uploaded", exact=True)).to_have_count(1)
    # After three more tries, of which the last comes 13 s after the first.
    person.get_by_role("button", name="Retry").wait_for(timeout=40_000)
    expect(person.locator("[data-says]").get_by_text("Connection lost.")).to_be_visible()
    person.unroute("**/uploads/**")
    person.get_by_role("button", name=way_on).click()
    expect(person.get_by_role("heading", name="sentence-slt.wav and 1 other")).to_be_visible()
    wait_for_the_end(person)
    missing = person.get_by_text("The file was not sent.")
    expect(missing).to_have_count(0 if way_on == "Retry" else 1)


def test_large_file_goes_on_with_the_parts_that_are_missing(open_window, signed_in, site, tmp_path):
    """13 minutes of silence in 150 MB, which are sent in parts of 32 MiB. The third of them breaks."""
    person = open_window(storage_state=signed_in)
    long = tmp_path / "long.wav"
    write_silence(long, size_bytes=150_000_000)
    sent: list[str] = []

    def break_third(route: Route) -> None:
        part = route.request.url.split("?")[0].rsplit("/", 1)[1]
        sent.append(part)
        if part == "3" and sent.count("3") == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    person.route("**/uploads/*/parts/**", break_third)
    choose(person, site, long)
    person.get_by_role("button", name="Transcribe").click()
    expect(person.get_by_role("heading", name="long.wav")).to_be_visible(timeout=60_000)
    assert sent == ["1", "2", "3", "3", "4", "5"]
    person.get_by_role("button", name="Cancel").click()
    expect(person.get_by_text("Nothing was charged.").first).to_be_visible()


def write_silence(path: Path, *, size_bytes: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 48_000, size_bytes // 4, "NONE", "not compressed"))
        for _ in range(size_bytes // 1_000_000):
            file.writeframes(bytes(1_000_000))


def test_several_files_work_without_javascript(open_window, signed_in, site):
    page = open_window(java_script_enabled=False, storage_state=signed_in)
    choose(page, site, AUDIO / "sentence-slt.wav", AUDIO / "silence.wav")
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("heading", name="sentence-slt.wav and 1 other")).to_be_visible()
    expect(page.get_by_role("link", name="Refresh")).to_be_visible()
