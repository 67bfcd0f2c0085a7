"""The playground and the questions about a transcript in a real browser, with scripted language models."""

import re

import pytest
from playwright.sync_api import expect

from tests.apex import exchange
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

TRANSCRIPTION_MS = 60_000


def test_answer_is_shown_while_it_is_written(person, site):
    person.goto(f"{site}/overview/")
    person.get_by_role("link", name="Playground").first.click()
    message = person.get_by_label("Message")
    # The price follows what is typed: (20,000 + 24) x 0.3 + 1,000 x 0.45 micro-dollars, rounded up.
    expect(person.locator("#price")).to_have_text("at most $0.0005")
    message.fill("x" * 59_900)
    expect(person.locator("#price")).to_have_text("at most $0.0065")
    message.fill("slow 30 0.1")
    person.get_by_role("button", name="Send").click()
    answer = person.get_by_label("Answer")
    expect(answer).to_contain_text("word3")
    # It still writes.
    expect(person.get_by_role("button", name="Stop")).to_be_visible()
    expect(answer).not_to_contain_text("word29")
    expect(answer).to_contain_text("word29")
    # 18 x 0.3 + 30 x 0.45 = 18.9.
    expect(answer).to_contain_text("Cost: $0.000019 for 18 input and 30 output tokens.")
    expect(person.get_by_role("button", name="Stop")).to_be_hidden()


def test_what_is_typed_before_the_scripts_come_has_its_price(person, site):
    """Or what a browser puts back into the form on the way back."""
    held = []
    person.route(re.compile(r"htmx.*\.js"), lambda route: held.append(route))
    person.goto(f"{site}/playground/", wait_until="commit")
    person.get_by_label("Message").fill("x" * 59_900)
    assert held, "the scripts had come"
    for route in held:
        route.continue_()
    expect(person.locator("#price")).to_have_text("at most $0.0065")


def test_answer_can_be_stopped_and_another_asked_for(person, site):
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("slow 100 0.1")
    person.get_by_role("button", name="Send").click()
    answer = person.get_by_label("Answer")
    expect(answer).to_contain_text("word1")
    person.get_by_role("button", name="Stop").click()
    expect(answer).to_contain_text("Stopped.")
    person.get_by_label("Message").fill("normal 2")
    person.get_by_role("button", name="Send").click()
    expect(answer).to_contain_text("2 output tokens")
    expect(answer.locator("p").first).to_have_text("word0 word1")


def test_what_the_model_says_is_never_a_part_of_the_page(person, site):
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("hostile")
    person.get_by_role("button", name="Send").click()
    answer = person.get_by_label("Answer")
    expect(answer.locator("p").first).to_have_text(exchange.HOSTILE)
    expect(answer).to_contain_text("Cost:")
    assert answer.locator("img, a, script").count() == 0
    assert person.title() == "Playground · Voxsite"


def test_failure_is_told_in_plain_words(person, site):
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("not-json")
    person.get_by_role("button", name="Send").click()
    expect(person.get_by_role("alert")).to_have_text("The model's provider failed. Nothing was charged; try again.")
    expect(person.get_by_role("button", name="Send")).to_be_enabled()


def test_playground_works_without_javascript(open_window, signed_in, site):
    page = open_window(java_script_enabled=False, storage_state=signed_in)
    page.goto(f"{site}/playground/")
    page.get_by_label("Message").fill("normal 4")
    page.get_by_role("button", name="Estimate price").click()
    expect(page.locator("#price")).to_have_text("at most $0.0005")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Answer")).to_contain_text("word0 word1 word2 word3")
    expect(page.get_by_label("Answer")).to_contain_text("4 output tokens")


def test_transcript_is_summarised_and_asked_about(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    person.get_by_role("button", name="Transcribe").click()
    person.get_by_text("Summarize or ask").click(timeout=TRANSCRIPTION_MS)
    expect(person.get_by_text("at most $0.00")).to_have_count(2)
    # Clicked twice, it is asked once.
    person.get_by_role("button", name="Summarize transcript").dblclick()
    summary = person.get_by_role("article").filter(has_text="A summary.")
    expect(summary).to_have_count(1)
    expect(summary).to_contain_text("$0.000014 for 38 tokens")
    expect(summary.locator(".said")).to_have_text(f"A summary. {exchange.HOSTILE}")
    assert summary.locator("img, a, script").count() == 0

    person.get_by_text("Summarize or ask").click()
    person.get_by_label("Ask about this transcript").fill("normal 3 words")
    person.get_by_role("button", name="Ask", exact=True).click()
    expect(person.get_by_role("article").filter(has_text="normal 3 words")).to_contain_text("word0 word1 word2")
    person.reload()
    expect(person.locator(".answer")).to_have_count(2)
