"""A transcript is shared, in two browsers: its owner's, and that of a stranger without an account."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_transcripts import second, transcribe, until

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def share(page, *, with_recording=False):
    page.get_by_text("Share", exact=True).click()
    if with_recording:
        page.get_by_label("With the recording").check()
    page.get_by_role("button", name="Create link").click()
    link = page.get_by_label("Link", exact=True)
    expect(link).to_be_visible()
    return link.input_value()


def test_stranger_reads_and_hears_until_the_owner_revokes(person, site, open_window):
    transcribe(person, site)
    text = person.get_by_role("article").locator("p").all_inner_texts()
    link = share(person, with_recording=True)
    stranger = open_window()
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name="dialogue.mp3")).to_be_visible()
    assert stranger.get_by_role("article").locator("p").all_inner_texts() == text
    assert stranger.get_by_role("link", name="Sign in").count() == 0
    stranger.get_by_role("button", name="Play").click()
    until(lambda: second(stranger) > 0.2)
    person.reload()
    person.get_by_text("Share", exact=True).click()
    person.get_by_role("button", name="Revoke").click()
    expect(person.get_by_text("Link revoked")).to_be_visible()
    answer = stranger.reload()
    assert answer.status == 404
    expect(stranger.get_by_role("heading", name="Page not found")).to_be_visible()
