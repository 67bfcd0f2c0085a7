"""How recordings come in: a sample for newcomers, the microphone, and files that wait for a payment."""

import re
import threading
import wave
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PASSWORD, sign_up
from tests.browser.test_invitations import open_mail_to
from tests.browser.test_transcripts import TRANSCRIPTION_MS, until
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
# Two hours of Premium cost $1.20, and a new account has $1.00.
TOO_LONG_SECONDS = 7200
RATE = 4000
DAY_MS = 24 * 3600 * 1000
# Puts rows of [key, how many milliseconds old, bytes] where the upload page keeps files.
KEEP_ROWS = """rows => new Promise((resolve, reject) => {
    const opening = indexedDB.open("voxsite", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("files");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
        const transaction = opening.result.transaction("files", "readwrite");
        for (const [key, age, text] of rows) {
            const value = key.endsWith("chosen")
                ? { files: [new File([text], "kept.wav")], values: [] }
                : new Blob([text], { type: "audio/webm" });
            transaction.objectStore("files").put({ at: Date.now() - age, value }, key);
        }
        transaction.oncomplete = () => { opening.result.close(); resolve(); };
        transaction.onerror = () => reject(transaction.error);
    };
})"""
KEPT_KEYS = """() => new Promise((resolve, reject) => {
    const opening = indexedDB.open("voxsite", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("files");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
        const asked = opening.result.transaction("files").objectStore("files").getAllKeys();
        asked.onsuccess = () => { opening.result.close(); resolve(asked.result); };
        asked.onerror = () => reject(asked.error);
    };
})"""
KEPT_NAMES = """key => new Promise((resolve, reject) => {
    const opening = indexedDB.open("voxsite", 1);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
        const asked = opening.result.transaction("files").objectStore("files").get(key);
        asked.onsuccess = () => { opening.result.close(); resolve(asked.result.value.files.map(({ name }) => name)); };
        asked.onerror = () => reject(asked.error);
    };
})"""
DATABASES = "async () => (await indexedDB.databases()).map(({ name }) => name)"


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


@pytest.fixture
def file_server() -> Iterator[str]:
    """The address of a server of other people, which has recordings."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=AUDIO))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_links_become_a_transcript(open_window, site, file_server):
    page = open_window()
    sign_up(page, site)
    link = f"{file_server}/sentence-slt.wav"
    page.goto(f"{site}/transcripts/upload/")
    field = page.get_by_label("Link to a recording")
    field.fill("sentence-slt.wav")
    page.get_by_role("button", name="Transcribe", exact=True).click()
    assert field.evaluate("field => field.validity.typeMismatch")
    expect(rows(page)).to_have_count(0)
    field.fill(link)
    field.press("Enter")
    expect(rows(page)).to_have_count(1)
    row(page, link).get_by_role("button", name="Remove").click()
    field.fill(link)
    page.get_by_role("button", name="Transcribe", exact=True).click()
    expect(page.get_by_role("heading", name="sentence-slt.wav")).to_be_visible()
    page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    page.goto(f"{site}/transcripts/upload/")
    for _ in range(2):
        field.fill(link)
        page.get_by_role("button", name="Add link").click()
    page.get_by_role("button", name="Transcribe 2 files").click()
    expect(page.get_by_role("heading", name="sentence-slt.wav and 1 other")).to_be_visible()


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
    # The least that can be paid, though less is missing.
    page.get_by_role("link", name="Top up $5.00 or more").click()
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
    expect(person.locator("[data-record-time]")).to_have_text(re.compile("^0:(0[2-9]|[1-5][0-9])$"))
    assert person.get_by_label("Level").is_visible()
    person.get_by_role("button", name="Pause").click()
    paused_at = person.locator("[data-record-time]").inner_text()
    person.wait_for_timeout(1500)
    assert person.locator("[data-record-time]").inner_text() == paused_at
    person.get_by_role("button", name="Resume").click()
    expect(person.locator("[data-record-time]")).to_have_text(re.compile("^0:(0[4-9]|[1-5][0-9])$"))
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
    expect(person.locator("[data-record-time]")).to_have_text(re.compile("^0:(0[5-9]|[1-5][0-9])$"))
    person.reload()
    expect(person.get_by_text("Your recording is still here")).to_be_visible()
    expect(row(person, "Recording ")).to_have_count(1)
    person.reload()
    expect(row(person, "Recording ")).to_have_count(1)
    person.get_by_role("button", name="Remove").click()
    person.reload()
    expect(person.get_by_role("heading", name="Upload")).to_be_visible()
    expect(rows(person)).to_have_count(0)


def test_recording_that_one_tab_sends_is_not_sent_by_another(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.get_by_role("button", name="Record with the microphone").click()
    expect(person.locator("[data-record-time]")).to_have_text(re.compile("^0:(0[3-9]|[1-5][0-9])$"))
    other = person.context.new_page()
    other.goto(f"{site}/transcripts/upload/")
    expect(other.get_by_role("button", name="Record with the microphone")).to_be_visible()
    # While it grows, it is nobody else's.
    expect(rows(other)).to_have_count(0)
    person.once("dialog", lambda dialog: dialog.dismiss())
    with person.expect_event("dialog") as asked:
        person.evaluate("() => { setTimeout(() => { location.href = '/overview/'; }); }")
    assert asked.value.type == "beforeunload"
    person.get_by_role("button", name="Stop and add").click()
    expect(row(person, "Recording ")).to_have_count(1)
    other.reload()
    expect(row(other, "Recording ")).to_have_count(1)
    held: list[Route] = []
    person.route(
        "**/transcripts/upload/",
        lambda route: held.append(route) if route.request.method == "POST" else route.continue_(),
    )
    person.get_by_role("button", name="Transcribe", exact=True).click()
    expect(row(person, "Recording ")).to_contain_text("Uploading")
    other.get_by_role("button", name="Transcribe", exact=True).click()
    expect(other.locator("[data-says]").get_by_text("Another tab is sending this")).to_be_visible()
    held.pop().continue_()
    expect(person.get_by_role("heading", name="Recording ")).to_be_visible()
    other.close()


def test_discarded_recording_is_gone(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.get_by_role("button", name="Record with the microphone").click()
    expect(person.locator("[data-record-time]")).to_have_text(re.compile("^0:(0[3-9]|[1-5][0-9])$"))
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
    expect(page.locator("[data-record-time]")).to_have_text(re.compile("^0:(0[3-9]|[1-5][0-9])$"))
    page.get_by_role("button", name="Stop and add").click()
    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{site}/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.goto(f"{site}/transcripts/upload/")
    expect(page.get_by_role("heading", name="Upload")).to_be_visible()
    expect(rows(page)).to_have_count(0)


def keep_something(page: Page, site: str) -> str:
    """Keep a file for the person of the window; return how the keys of the person and organization begin."""
    page.goto(f"{site}/transcripts/upload/")
    prefix = page.locator("[data-keep]").get_attribute("data-keep")
    page.evaluate(KEEP_ROWS, [[f"{prefix}:chosen", 0, "RIFF"]])
    return prefix


def test_signing_out_on_an_invitation_forgets_what_was_kept(person, open_window, site):
    email = "somebody-else@example.com"
    person.goto(f"{site}/organization/")
    person.get_by_label("Email").fill(email)
    person.get_by_role("button", name="Send invitation").click()
    expect(person.get_by_text(f"Invitation sent to {email}")).to_be_visible()
    page = open_window()
    sign_up(page, site)
    keep_something(page, site)
    open_mail_to(page, site, email, link="/invitations/")
    expect(page.get_by_text("This invitation is for")).to_be_visible()
    assert page.evaluate(DATABASES) == ["voxsite"]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in and accept")).to_be_visible()
    until(lambda: page.evaluate(DATABASES) == [])


def test_signing_out_on_its_own_page_forgets_what_was_kept(open_window, site):
    page = open_window()
    sign_up(page, site)
    keep_something(page, site)
    page.goto(f"{site}/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
    until(lambda: page.evaluate(DATABASES) == [])


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/"])
def test_what_an_ended_session_kept_is_forgotten(open_window, signed_in, site, path):
    page = open_window(storage_state=signed_in)
    keep_something(page, site)
    page.context.clear_cookies()
    page.goto(f"{site}{path}")
    until(lambda: page.evaluate(DATABASES) == [])


def test_upload_page_deletes_what_is_old_or_of_other_people(person, site):
    prefix = keep_something(person, site)
    owner, organization = prefix.split(":")
    person.evaluate(
        KEEP_ROWS,
        [
            [f"{owner}:another:chosen", 0, "RIFF"],
            [f"{owner}:old:chosen", 2 * DAY_MS, "RIFF"],
            [f"{owner}9:{organization}:chosen", 0, "RIFF"],
            [f"{owner}9:{organization}:recording:5:000001", 0, "a"],
        ],
    )
    person.reload()
    until(lambda: set(person.evaluate(KEPT_KEYS)) == {f"{owner}:another:chosen", f"{prefix}:chosen"})
    expect(row(person, "kept.wav")).to_have_count(1)


def test_old_recording_takes_no_fresh_one_with_it(person, site):
    prefix = keep_something(person, site)
    pieces = [
        ["recording:5:000001", 2 * DAY_MS],
        ["recording:5:000002", 2 * DAY_MS],
        ["recording:6:000001", DAY_MS + 60_000],
        ["recording:6:000002", DAY_MS - 60_000],
        ["recording:7:000001", 0],
    ]
    person.evaluate(KEEP_ROWS, [[f"{prefix}:{key}", age, "a"] for key, age in pieces])
    # Not every browser groups rows by itself.
    person.add_init_script("delete Map.groupBy;")
    person.reload()
    expect(row(person, "Recording ")).to_have_count(2)
    expect(row(person, "2 B")).to_have_count(1)
    left = [f"{prefix}:{each}" for each in ("chosen", *(key for key, _ in pieces[2:]))]
    until(lambda: person.evaluate(KEPT_KEYS) == left)
    for _ in range(3):
        person.get_by_role("button", name="Remove").first.click()


def test_removed_file_does_not_come_back(person, site):
    prefix = keep_something(person, site)
    person.reload()
    expect(row(person, "kept.wav")).to_have_count(1)
    person.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    expect(rows(person)).to_have_count(2)
    row(person, "kept.wav").get_by_role("button", name="Remove").click()
    until(lambda: person.evaluate(KEPT_NAMES, f"{prefix}:chosen") == ["sentence-slt.wav"])
    person.reload()
    expect(row(person, "sentence-slt.wav")).to_have_count(1)
    expect(rows(person)).to_have_count(1)
    person.get_by_role("button", name="Remove").click()
    until(lambda: f"{prefix}:chosen" not in person.evaluate(KEPT_KEYS))
