"""The playground and the questions about a transcript in a real browser, with scripted language models."""

import json
import re
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import expect

from tests.apex import exchange
from tests.browser.conftest import wait_until
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

TRANSCRIPTION_MS = 240_000


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
    answer = person.get_by_label("Conversation")
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
    person.route(re.compile(r"/static/.*\.js"), lambda route: held.append(route))
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
    turns = person.get_by_label("Conversation").get_by_role("article")
    expect(turns).to_contain_text("word1")
    person.get_by_role("button", name="Stop").click()
    expect(turns).to_contain_text("Stopped.")
    person.get_by_label("Message").fill("normal 2")
    person.get_by_role("button", name="Send").click()
    expect(turns).to_have_count(2)
    expect(turns.last).to_contain_text("2 output tokens")
    expect(turns.last.locator("[data-said]")).to_have_text("word0 word1")
    expect(turns.first).to_contain_text("Stopped.")


def test_conversation_is_written_by_the_keyboard_and_stays(person, site):
    person.goto(f"{site}/playground/")
    message = person.get_by_label("Message")
    message.press_sequentially("normal 2")
    message.press("Shift+Enter")
    message.press_sequentially("please")
    expect(message).to_have_value("normal 2\nplease")
    message.press("Enter")
    turns = person.get_by_label("Conversation").get_by_role("article")
    expect(turns).to_contain_text("2 output tokens")
    expect(message).to_have_value("")
    expect(message).to_be_focused()
    # Nothing to send.
    message.press("Enter")
    with person.expect_request("**/playground/stream/") as second:
        message.press_sequentially("normal 3")
        message.press("Enter")
    sent = parse_qs(second.value.post_data)
    ((said, answered),) = json.loads(sent["history"][0])
    assert (said, answered.split()) == ("normal 2\nplease", ["word0", "word1"])
    expect(turns.last).to_contain_text("3 output tokens")
    person.reload()
    expect(turns).to_have_count(2)
    expect(turns.first).to_contain_text("please")
    expect(turns.last).to_contain_text("word0 word1 word2")
    person.get_by_role("link", name="New conversation").click()
    expect(turns).to_have_count(0)
    person.reload()
    expect(turns).to_have_count(0)


def test_next_message_carries_an_answer_that_is_not_rendered_yet(person, site):
    held = []
    person.route("**/playground/rendered/", lambda route: held.append(route))
    person.goto(f"{site}/playground/")
    message = person.get_by_label("Message")
    message.fill("normal 2")
    message.press("Enter")
    expect(person.get_by_role("article")).to_contain_text("word1")
    expect(person.get_by_role("button", name="Stop")).to_be_hidden()
    message.fill("normal 3")
    with person.expect_request("**/playground/stream/") as second:
        message.press("Enter")
    assert held
    ((said, answered),) = json.loads(parse_qs(second.value.post_data)["history"][0])
    assert (said, answered.split()) == ("normal 2", ["word0", "word1"])
    expect(person.get_by_role("article").last).to_contain_text("3 output tokens")
    person.unroute_all()


def test_new_conversation_ends_one_whose_answer_is_awaited(person, site):
    person.goto(f"{site}/playground/")
    message = person.get_by_label("Message")
    message.fill("normal 2")
    message.press("Enter")
    turns = person.get_by_label("Conversation").get_by_role("article")
    expect(turns).to_contain_text("2 output tokens")
    expect(person.get_by_role("button", name="Send")).to_be_enabled()
    held = []
    person.route("**/playground/stream/", lambda route: held.append(route))
    message.fill("normal 3")
    message.press("Enter")
    expect(turns).to_have_count(2)
    with person.expect_navigation():
        person.get_by_role("link", name="New conversation").click()
    expect(person.get_by_role("link", name="New conversation")).to_be_hidden()
    expect(turns).to_have_count(0)


def test_conversation_of_a_page_goes_on_with_its_turns(person, site):
    """A form that is sent without the script is answered by a page, for example after signing in."""
    person.goto(f"{site}/playground/")
    message = person.get_by_label("Message")
    message.fill("normal 2")
    with person.expect_navigation():
        person.evaluate("() => document.querySelector('form[data-chat]').submit()")
    turns = person.get_by_label("Conversation").get_by_role("article")
    expect(turns).to_contain_text("2 output tokens")
    message.fill("normal 3")
    message.press("Enter")
    expect(turns.last).to_contain_text("3 output tokens")
    expect(person.get_by_role("button", name="Send")).to_be_enabled()
    message.fill("normal 1")
    with person.expect_request("**/playground/stream/") as third:
        message.press("Enter")
    history = json.loads(parse_qs(third.value.post_data)["history"][0])
    assert [said for said, _ in history] == ["normal 2", "normal 3"]
    assert history[0][1].split() == ["word0", "word1"]
    expect(turns.last).to_contain_text("1 output tokens")
    person.goto(f"{site}/playground/")
    expect(turns).to_have_count(3)


def test_markdown_is_shown_as_it_is_meant(person, site):
    text = "**Summary.**\n\n- one\n- two\n\n|a|b|\n|--:|---|\n|1|2|"
    events = [{"choices": [{"delta": {"content": text}}]}, {"cost": "$0.01"}]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    person.route("**/playground/stream/", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("Summarize")
    person.get_by_role("button", name="Send").click()
    said = person.locator("article [data-said]")
    expect(said.locator("strong")).to_have_text("Summary.")
    expect(said.get_by_role("listitem")).to_have_count(2)
    expect(said.get_by_role("cell")).to_have_count(2)
    person.reload()
    expect(said.locator("strong")).to_have_text("Summary.")


def test_conversation_of_another_person_is_not_shown(person, site):
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("normal 2")
    person.get_by_label("Message").press("Enter")
    expect(person.get_by_role("article")).to_contain_text("2 output tokens")
    # The page keeps the turn once more when it is rendered.
    wait_until(
        person,
        """() => {
        const kept = JSON.parse(sessionStorage.getItem("voxsite.playground"));
        return kept?.turns.at(-1)?.html;
    }""",
    )
    person.evaluate("""() => {
        const kept = JSON.parse(sessionStorage.getItem("voxsite.playground"));
        sessionStorage.setItem("voxsite.playground", JSON.stringify({ ...kept, owner: "another person" }));
    }""")
    person.reload()
    expect(person.get_by_role("article")).to_have_count(0)


def test_what_the_model_says_is_never_a_part_of_the_page(person, site):
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("hostile")
    person.get_by_role("button", name="Send").click()
    answer = person.get_by_label("Conversation")
    expect(answer.locator("[data-said]")).to_have_text(exchange.HOSTILE)
    expect(answer).to_contain_text("Cost:")
    assert answer.locator("img, a, script").count() == 0
    assert person.title() == "Playground · Voxsite"


def test_failure_is_told_in_plain_words(person, site):
    person.goto(f"{site}/playground/")
    person.get_by_label("Message").fill("not-json")
    person.get_by_role("button", name="Send").click()
    expect(person.get_by_role("alert")).to_have_text("The model's provider failed. Nothing was charged; try again.")
    expect(person.get_by_role("button", name="Send")).to_be_enabled()
    # The message is there to be sent again.
    expect(person.get_by_label("Message")).to_have_value("not-json")
    expect(person.get_by_role("article")).to_have_count(0)


def test_playground_works_without_javascript(open_window, signed_in, site):
    page = open_window(java_script_enabled=False, storage_state=signed_in)
    page.goto(f"{site}/playground/")
    page.get_by_label("Message").fill("normal 4")
    page.get_by_role("button", name="Estimate price").click()
    expect(page.locator("#price")).to_have_text("at most $0.0005")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Conversation")).to_contain_text("word0 word1 word2 word3")
    expect(page.get_by_label("Conversation")).to_contain_text("4 output tokens")


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
