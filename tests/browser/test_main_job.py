"""The main job in a real browser against the real product: from sign-up to the line in the ledger."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PASSWORD, PHONE, download_as, sign_up
from tests.conftest import AUDIO, text_of

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

TRANSCRIPTION_MS = 240_000
KEY = re.compile(r"vxp_live_[0-9A-Za-z]{38}")


def test_from_sign_up_to_the_line_in_the_ledger(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    expect(page.get_by_text("First steps")).to_be_visible()

    page.get_by_role("link", name="Create an API key").click()
    page.get_by_label("Name").fill("production")
    page.get_by_role("button", name="Create key").click()
    key = page.get_by_label("New API key").input_value()
    assert KEY.fullmatch(key)
    page.reload()
    balance = requests.get(f"{site}/v1/balance", headers={"X-API-Key": key}, timeout=10)
    assert balance.json()["balance_cents"] == 100

    page.get_by_role("link", name="Upload").first.click()
    expect(page.get_by_text("Standard, $0.30 per hour")).to_be_visible()
    page.locator("input[type=file]").set_input_files(AUDIO / "dialogue.mp3")
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("heading", name="dialogue.mp3")).to_be_visible()
    # The page asks for progress and loads itself anew at the end.
    article = page.get_by_role("article")
    article.wait_for(timeout=TRANSCRIPTION_MS)
    assert " ".join(article.locator("p").all_inner_texts()) == text_of("dialogue.mp3")
    names = article.locator(".who b").all_inner_texts()
    assert names == ["Speaker 1", "Speaker 2", "Speaker 1", "Speaker 2", "Speaker 1"]
    colours = [name.evaluate("name => getComputedStyle(name).color") for name in article.locator(".who b").all()]
    assert len(set(colours)) == 2

    page.get_by_text("Details", exact=True).click()
    expect(page.locator(".facts")).to_contain_text("$0.001333 (16 s billed)")
    assert download_as(page, "Subtitles, SRT").suggested_filename == "dialogue.srt"

    page.get_by_role("link", name="Billing").first.click()
    line = page.get_by_role("row", name="Transcription: dialogue.mp3")
    # 15.62 s are 16 started seconds: 300,000 / 3,600 x 16 = 1,333 micro-dollars.
    expect(line).to_contain_text("\N{MINUS SIGN}$0.001333")
    expect(line).to_contain_text("$0.998667")
    expect(line).to_contain_text("16 s billed")

    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{site}/billing/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("row", name="Transcription: dialogue.mp3")).to_be_visible()


def test_file_that_was_cut_off_is_sent_again_once_its_beginning_is_wanted(person, site, tmp_path):
    cut = tmp_path / "meeting.wav"
    cut.write_bytes((AUDIO / "sentence-slt.wav").read_bytes()[:-40_000])
    person.goto(f"{site}/transcripts/upload/")
    person.locator("input[type=file]").set_input_files(cut)
    person.get_by_role("button", name="Transcribe").click()
    expect(person.get_by_text("The file is cut off")).to_be_visible()
    person.get_by_text("More options").click()
    person.get_by_label("Accept incomplete files").check()
    person.get_by_role("button", name="Transcribe").click()
    expect(person.get_by_role("heading", name="meeting.wav")).to_be_visible()
    person.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)


def test_upload_works_without_javascript(open_window, signed_in, site):
    page = open_window(java_script_enabled=False, storage_state=signed_in)
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("heading", name="sentence-slt.wav")).to_be_visible()
    expect(page.get_by_role("link", name="Refresh")).to_be_visible()


def test_guides_node_example_runs_as_it_stands(person, site, node, tmp_path):
    said = run_example(person, site, tmp_path, language="Node", program="example.mjs", command=[str(node.bin / "node")])
    assert said == text_of("dialogue.mp3")


def test_guides_python_example_runs_as_it_stands(person, site, tmp_path):
    said = run_example(person, site, tmp_path, language="Python", program="example.py", command=[sys.executable])
    assert said == text_of("dialogue.mp3")


@pytest.mark.parametrize(("language", "program"), [("Python", "example.py"), ("Node", "example.mjs")])
def test_guides_example_says_why_it_is_refused(open_window, site, node, tmp_path, language, program):
    page = open_window()
    page.goto(f"{site}/docs/")
    page.locator("#start").get_by_text(language, exact=True).click()
    code = page.locator("#start").get_by_label(language, exact=True).locator("code").inner_text()
    (tmp_path / program).write_text(code.replace("YOUR_API_KEY", "vxp_live_none"))
    shutil.copy(AUDIO / "dialogue.mp3", tmp_path / "recording.mp3")
    command = sys.executable if language == "Python" else str(node.bin / "node")
    done = subprocess.run([command, program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "invalid_api_key: " in done.stderr


@pytest.mark.parametrize(("language", "program"), [("Python", "watch.py"), ("Node", "watch.mjs")])
def test_example_that_watches_a_job_reads_its_events(person, site, node, tmp_path, language, program):
    key = new_key(person, site, name=f"watch {language}")
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        job = requests.post(
            f"{site}/v1/transcribe", headers={"X-API-Key": key}, files={"file": file}, timeout=60
        ).json()
    person.goto(f"{site}/docs/native/")
    section = person.locator("#watch_job")
    section.get_by_text(language, exact=True).click()
    code = section.get_by_label(language, exact=True).locator("code").inner_text()
    (tmp_path / program).write_text(code.replace(f"{key[:13]}...", key).replace("JOB_ID", job["job_id"]))
    command = sys.executable if language == "Python" else str(node.bin / "node")
    done = subprocess.run([command, program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout


def new_key(page: Page, site: str, *, name: str) -> str:
    page.goto(f"{site}/keys/")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create key").click()
    return page.get_by_label("New API key").input_value()


def run_example(page: Page, site: str, folder: Path, *, language: str, program: str, command: list[str]) -> str:
    """Run the guide's example with a new key beside a recording; return the words that it printed."""
    key = new_key(page, site, name=f"{language} example")
    page.goto(f"{site}/docs/")
    guide = page.locator("#start")
    guide.get_by_text(language, exact=True).click()
    code = guide.get_by_label(language, exact=True).locator("code").inner_text()
    (folder / program).write_text(code.replace(f"{key[:13]}...", key))
    shutil.copy(AUDIO / "dialogue.mp3", folder / "recording.mp3")
    done = subprocess.run([*command, program], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert {speaker for speaker, _ in lines} == {"S1", "S2"}
    return " ".join(words for _, words in lines)


PAGES = [
    "/",
    "/pricing/",
    "/docs/",
    "/dev/mail/",
    "/overview/",
    "/transcripts/",
    "/transcripts/upload/",
    "/billing/",
    "/billing/ledger/",
    "/billing/usage/",
    "/billing/payments/",
    "/billing/top-up/",
    "/billing/settings/",
    "/keys/",
    "/organization/",
    "/organization/new/",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/2fa/webauthn/",
    "/accounts/sessions/",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, {"width": 820, "height": 1180}, PHONE], ids=["desktop", "tablet", "phone"])
def test_no_page_is_wider_than_its_window(open_window, signed_in, site, size, scheme):
    page = open_window(viewport=size, color_scheme=scheme, storage_state=signed_in)
    for path in PAGES:
        page.goto(f"{site}{path}")
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], path


def test_phone_reaches_every_page_from_its_bar(open_window, signed_in, site):
    page = open_window(viewport=PHONE, has_touch=True, storage_state=signed_in)
    page.goto(f"{site}/overview/")
    bar = page.get_by_role("navigation", name="Main, short")
    bar.get_by_text("More").tap()
    bar.get_by_role("link", name="Keys").tap()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()


def test_keyboard_shows_where_it_is(person, site):
    person.goto(f"{site}/overview/")
    person.keyboard.press("Tab")
    expect(person.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(4):
        person.keyboard.press("Tab")
        outline = person.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
