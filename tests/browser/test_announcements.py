"""What a screen reader is told while work runs: in one place that stays, and at most every ten seconds."""

import itertools
import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_transcripts import transcribe
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
EVERY_MS = 10_000
LISTEN = """() => {
    window.told = [];
    const place = document.querySelector("[data-live]");
    new MutationObserver(() => window.told.push([performance.now(), place.textContent]))
        .observe(place, { childList: true });
}"""
LIVE_REGIONS = "(card) => card.querySelectorAll('[aria-live], [role=status]').length + card.hasAttribute('aria-live')"


def test_progress_is_told_at_most_every_ten_seconds(person, site):
    percents = itertools.count(1)
    shown = []
    # From the first question on, so that the job does not end.
    person.route(
        "**/progress/*",
        lambda route: route.fulfill(
            content_type="text/html",
            body=re.sub(r">[^<]*You can leave", f">{next(percents)}% transcribed. You can leave", shown[0]),
        ),
    )
    person.goto(f"{site}/transcripts/upload/")
    person.locator("input[type=file]").set_input_files(AUDIO / "dialogue.mp3")
    person.clock.install()
    person.get_by_role("button", name="Transcribe").click()
    card = person.locator("#progress")
    shown.append(card.evaluate("(one) => one.outerHTML"))
    assert card.evaluate(LIVE_REGIONS) == 0
    person.evaluate(LISTEN)
    for _ in range(16):
        before = card.inner_text()
        person.clock.run_for(2_000)
        expect(card).not_to_have_text(before)
    told = person.evaluate("() => window.told")
    # 16 changes in 32 seconds.
    assert 3 <= len(told) <= 5
    # To the millisecond: a timer may come a fraction of one early.
    assert min(round(later[0] - sooner[0]) for sooner, later in itertools.pairwise(told)) >= EVERY_MS
    assert all("% transcribed" in text for _, text in told)
    assert len({text for _, text in told}) == len(told)


def test_changes_of_jobs_in_the_list_are_told_by_name(person, site):
    transcribe(person, site)
    person.goto(f"{site}/transcripts/")
    row = person.locator("tbody tr").first
    body = row.evaluate("""(one) => {
        const changed = one.cloneNode(true);
        changed.setAttribute("hx-swap-oob", "true");
        changed.querySelector(".state").textContent = "Canceled";
        return `<template>${changed.outerHTML}</template>`;
    }""")
    live = person.locator("#live").evaluate("(one) => one.outerHTML")
    person.route("**/live/*", lambda route: route.fulfill(content_type="text/html", body=live + body))
    expect(person.locator("[data-live]")).to_have_text("dialogue.mp3: Canceled")
