"""How recordings come in: a sample for newcomers, the microphone, and files that wait for a payment."""

import wave
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_up
from tests.browser.test_transcripts import TRANSCRIPTION_MS
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
# Two hours of Premium cost $1.20, and a new account has $1.00.
TOO_LONG_SECONDS = 7200
RATE = 4000


def row(page: Page, name: str):
    return page.locator(".file", has_text=name)


def rows(page: Page):
    return page.locator("[data-files] .file")


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])
def test_newcomer_has_a_transcript_by_one_click(open_window, site, has_scripts):
    page = open_window()
    sign_up(page, site)
    if not has_scripts:
        state = page.context.storage_state()
        page = open_window(java_script_enabled=False, storage_state=state)
    page.goto(f"{site}/transcripts/upload/")
    page.get_by_role("button", name="Try the sample").click()
    expect(page.get_by_role("heading", name="Sample conversation.mp3")).to_be_visible()
    if has_scripts:
        page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    page.goto(f"{site}/transcripts/upload/")
    expect(page.get_by_role("button", name="Try the sample")).to_have_count(0)


def test_files_are_still_chosen_after_the_top_up(open_window, site, tmp_path: Path):
    with wave.open(str(tmp_path / "board meeting.wav"), "wb") as long:
        long.setnchannels(1)
        long.setsampwidth(1)
        long.setframerate(RATE)
        long.writeframes(b"\x80" * RATE * TOO_LONG_SECONDS)
    page = open_window()
    sign_up(page, site)
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files(tmp_path / "board meeting.wav")
    page.get_by_label("Premium").check()
    page.get_by_label("Language", exact=True).select_option("en")
    page.get_by_role("button", name="Transcribe", exact=True).click()
    page.get_by_role("link", name="Top up").click()
    page.get_by_role("button", name="Continue to payment").click()
    page.get_by_role("button", name="Pay $").click()
    page.get_by_role("link", name="Upload a recording").click()
    expect(page.get_by_text("Your files are still here")).to_be_visible()
    expect(row(page, "board meeting.wav")).to_be_visible()
    expect(page.get_by_label("Premium")).to_be_checked()
    expect(page.get_by_label("Language", exact=True)).to_have_value("en")
    page.get_by_role("button", name="Transcribe", exact=True).click()
    expect(page.get_by_role("heading", name="board meeting.wav")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.goto(f"{site}/transcripts/upload/")
    expect(page.get_by_role("heading", name="Upload")).to_be_visible()
    expect(rows(page)).to_have_count(0)


def test_microphone_is_recorded_with_pauses(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.get_by_role("button", name="Record with the microphone").click()
    expect(person.locator("[data-record-time]")).to_have_text("0:02")
    assert person.get_by_label("Level").is_visible()
    person.get_by_role("button", name="Pause").click()
    paused_at = person.locator("[data-record-time]").inner_text()
    person.wait_for_timeout(1500)
    assert person.locator("[data-record-time]").inner_text() == paused_at
    person.get_by_role("button", name="Resume").click()
    expect(person.locator("[data-record-time]")).to_have_text("0:04")
    person.get_by_role("button", name="Stop and add").click()
    expect(row(person, "Recording ")).to_have_count(1)
    person.get_by_role("button", name="Transcribe", exact=True).click()
    expect(person.get_by_role("heading", name="Recording ")).to_be_visible()
    length = person.locator(".facts, .about").filter(has_text="0:0").first
    expect(length).to_contain_text("0:0")
    person.goto(f"{site}/transcripts/upload/")
    expect(rows(person)).to_have_count(0)


def test_recording_outlives_a_reload_until_it_is_removed(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.get_by_role("button", name="Record with the microphone").click()
    expect(person.locator("[data-record-time]")).to_have_text("0:05")
    person.reload()
    expect(person.get_by_text("Your recording is still here")).to_be_visible()
    expect(row(person, "Recording ")).to_have_count(1)
    person.reload()
    expect(row(person, "Recording ")).to_have_count(1)
    person.get_by_role("button", name="Remove").click()
    person.reload()
    expect(person.get_by_role("heading", name="Upload")).to_be_visible()
    expect(rows(person)).to_have_count(0)


def test_discarded_recording_is_gone(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.get_by_role("button", name="Record with the microphone").click()
    expect(person.locator("[data-record-time]")).to_have_text("0:03")
    person.get_by_role("button", name="Discard").click()
    expect(person.get_by_text("Recording discarded")).to_be_visible()
    person.reload()
    expect(rows(person)).to_have_count(0)


def test_microphone_that_is_refused_is_explained(open_window, signed_in, site):
    page = open_window(storage_state=signed_in)
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); };"
    )
    page.goto(f"{site}/transcripts/upload/")
    page.get_by_role("button", name="Record with the microphone").click()
    expect(page.get_by_text("The browser does not allow the microphone")).to_be_visible()
    page.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    expect(page.get_by_role("button", name="Transcribe", exact=True)).to_be_enabled()


def test_signing_out_forgets_what_was_kept(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    page.goto(f"{site}/transcripts/upload/")
    page.get_by_role("button", name="Record with the microphone").click()
    expect(page.locator("[data-record-time]")).to_have_text("0:03")
    page.get_by_role("button", name="Stop and add").click()
    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{site}/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill("quiet river 42 stones")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.goto(f"{site}/transcripts/upload/")
    expect(page.get_by_role("heading", name="Upload")).to_be_visible()
    expect(rows(page)).to_have_count(0)
