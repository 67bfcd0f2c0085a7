"""The weight of pages: bytes over the wire, requests, and how much the layout shifts, with a cold cache in Chromium.
And of a transcript of three hours: when its end is on the screen if somebody scrolls there as soon as it has loaded,
and how long a key takes, from its press to the next frame.

Usage: script/benchmark pages [OTHER]

OTHER is a checkout of another build with its own `.venv`, measured in the same run. Both are started as `script/server`
starts them, on fresh data folders, with a transcript of ten minutes and two speakers.
"""

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from script.benchmarks.measuring.builds import running
from tests.product import PROJECT_DIR

EMAIL, PASSWORD = "weigher@example.com", "quiet river 42 stones"
SETTLE_MS = 3_000
# Runs in both builds: it uses what both have. One transaction, so that no worker takes the job first.
FILL = """
from django.db import transaction
from allauth.account.models import EmailAddress
from accounts import organizations
from accounts.models import Organization, User
from tests.transcription import factories
from transcription import jobs
from transcription.speech.transcript import Segment, Transcript, Word

user = User.objects.create_user({email!r}, {password!r})
EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
organizations.email_was_verified(user)
organization = Organization.objects.get(memberships__user=user)
def said(count):
    # Every tenth word is one that the engine was unsure of.
    segments = []
    for number in range(count):
        speaker, start = f"S{{number // 4 % 2 + 1}}", number * 5000
        words = tuple(
            Word(
                text=word, start_ms=start + at * 350, end_ms=start + at * 350 + 300, speaker=speaker,
                probability=0.9 if (number + at) % 10 else 0.2,
            )
            for at, word in enumerate(sentence)
        )
        segments.append(Segment(start, words[-1].end_ms, " ".join(sentence), words, speaker))
    return tuple(segments)

sentence = "Could you send the invoice of last month again before Thursday morning please?".split()
for count in (120, 2160):
    with transaction.atomic():
        job = factories.make_job(organization, duration_ms=count * 5000)
        item = jobs.claim(job.items.get().pk)
        jobs.finish_item(
            item,
            transcript=Transcript(
                language="en", language_probability=None, duration_ms=count * 5000, segments=said(count),
                engine="pocketsphinx", diarizer="clustering", notes=(),
            ),
        )
    print(job.pk)
"""
LAYOUT_SHIFT = """() => new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(sum), 500);
})"""

# Two frames later what is at the end is painted. Milliseconds since the page had loaded.
SCROLLED = """() => new Promise((resolve) => {
    const loadedAt = performance.getEntriesByType("navigation")[0].loadEventEnd;
    const last = [...document.querySelectorAll("main article p")].at(-1);
    const look = () => {
        last.scrollIntoView({ behavior: "instant" });
        const box = last.getBoundingClientRect();
        const isSeen = box.bottom > 0 && box.top < innerHeight;
        const next = () => (isSeen ? resolve(performance.now() - loadedAt) : look());
        requestAnimationFrame(() => requestAnimationFrame(next));
    };
    look();
})"""

KEYS = """
window.keyTimes = [];
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (entry.name === "keydown") window.keyTimes.push(entry.duration);
}).observe({ type: "event", durationThreshold: 16 });
"""


@dataclass(frozen=True)
class Weight:
    bytes: int
    requests: int
    shift: float


@contextmanager
def filled(code: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Start the product of a checkout and fill it. Yields its address and the ids of both transcripts."""
    with running(code, folder) as build:
        yield build.address, build.manage("shell", "-c", FILL.format(email=EMAIL, password=PASSWORD)).split()[-2:]


def weigh(browser: Browser, address: str, *, state: Any = None) -> Weight:
    """Open an address with an empty cache and return what came."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, storage_state=state)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    asked: list[str] = []
    session.on("Network.requestWillBeSent", lambda event: asked.append(event["request"]["url"]))
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address)
    page.wait_for_timeout(SETTLE_MS)
    shift = float(page.evaluate(LAYOUT_SHIFT))
    context.close()
    own = [url for url in asked if url.startswith("http")]
    return Weight(bytes=round(sum(sizes)), requests=len(own), shift=shift)


def sign_in(page: Page, address: str) -> None:
    page.goto(f"{address}/accounts/login/")
    page.locator("input[name=login]").fill(EMAIL)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main form button").first.click()
    page.wait_for_url("**/overview/")


def scrolled(browser: Browser, address: str, *, state: Any) -> float:
    """Open a transcript and scroll to its end at once; return how many ms after the load the end was painted."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, storage_state=state)
    page = context.new_page()
    page.goto(address)
    took = float(page.evaluate(SCROLLED))
    context.close()
    return took


def typed(browser: Browser, address: str, *, state: Any) -> list[float]:
    """Type into the middle of a transcript; return how many ms each key took, rounded by the browser to 8 ms."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, storage_state=state)
    page = context.new_page()
    page.add_init_script(KEYS)
    page.goto(address)
    edit = page.get_by_role("button", name="Edit")
    if not edit.count():
        # An older build, whose transcripts cannot be edited.
        context.close()
        return []
    edit.click()
    lines = page.locator("[data-line]")
    line = lines.nth(lines.count() // 2)
    line.scroll_into_view_if_needed()
    line.click()
    page.evaluate("() => { window.keyTimes.length = 0; }")
    # Longer than the pause after which the page saves.
    for word in ["and", "then", "we", "saw", "the", "invoice"]:
        page.keyboard.type(f"{word} ", delay=60)
        page.wait_for_timeout(1200 if word == "we" else 0)
    page.wait_for_timeout(500)
    found: list[float] = page.evaluate("() => window.keyTimes")
    context.close()
    return sorted(found)


def measured(browser: Browser, code: Path) -> tuple[dict[str, Weight], list[float], float]:
    """Return the weights, what keys took, and when a long transcript was scrolled, the last two in ms."""
    folder = Path(tempfile.mkdtemp())
    try:
        with filled(code, folder) as (address, (job_id, long_job_id)):
            context = browser.new_context()
            sign_in(context.new_page(), address)
            state = context.storage_state()
            context.close()
            return (
                {
                    "landing": weigh(browser, f"{address}/"),
                    "overview": weigh(browser, f"{address}/overview/", state=state),
                    "transcript": weigh(browser, f"{address}/transcripts/{job_id}/", state=state),
                },
                typed(browser, f"{address}/transcripts/{long_job_id}/", state=state),
                scrolled(browser, f"{address}/transcripts/{long_job_id}/", state=state),
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(other: Path | None) -> None:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        here, keys, scroll_ms = measured(browser, PROJECT_DIR)
        there, other_keys, _ = measured(browser, other) if other else ({}, [], 0.0)
        browser.close()
    print(f"load average {os.getloadavg()[0]:.1f}")
    print(
        "page        bytes  requests  shift"
        + ("  other bytes  other requests  bytes of it  requests of it" if there else "")
    )
    for page, weight in here.items():
        line = f"{page:<10} {weight.bytes:>6} {weight.requests:>9} {weight.shift:>6.3f}"
        if page in there:
            was = there[page]
            shares = f"{weight.bytes / was.bytes:>12.2f} {weight.requests / was.requests:>15.2f}"
            line += f" {was.bytes:>12} {was.requests:>15} {shares}"
        print(line)
    print(f"end of three hours: {scroll_ms:.0f} ms after the load")
    for name, times in (("key", keys), ("key, other", other_keys)):
        if times:
            print(f"{name}: median {statistics.median(times):.0f} ms, longest {times[-1]:.0f} ms of {len(times)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
