"""The playground: normal use, visitors, no money, bad input, hostile answers, double clicks, failing upstreams."""

import html
import json
import re
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from accounts.gate import limits
from apex import upstream
from apex.models import Completion
from billing import ledger, statements
from billing.models import Entry, Wallet
from tests.apex import exchange

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("chat")]


def fields(message="normal 5", **changed):
    return {
        "message": message,
        "system": "",
        "model": "apex-latest",
        "temperature": "0.7",
        "max_tokens": "100",
        "token": str(uuid.uuid4()),
    } | changed


def page_of(response) -> str:
    return response.content.decode()


def spend_everything(organization) -> None:
    free = statements.balance(organization).available_micros
    ledger.reserve(organization, amount_micros=free, reference="job:everything")


def nothing_was_charged() -> bool:
    wallet = Wallet.objects.get()
    return not Entry.objects.filter(kind="usage").exists() and wallet.held_micros == 0


def streamed(client, sent) -> list[dict]:
    """Return the events that the page's script gets."""

    async def act():
        browser = AsyncClient()
        browser.cookies = client.cookies
        response = await browser.post(f"/o/{client.home}/playground/stream/", sent)
        if not response.streaming:
            return response.status_code, response.content
        try:
            return response.status_code, b"".join([chunk async for chunk in response.streaming_content])
        finally:
            await upstream.close()

    status, raw = async_to_sync(act)()
    if status != 200:
        return [{"status": status, **json.loads(raw)}]
    lines = [line for line in raw.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


# --- Access ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "price/", "stream/", "rendered/"])
def test_visitor_is_asked_to_sign_in(path, organization):
    response = Client().post(f"/o/{organization.pk}/playground/{path}", fields())
    assert response.status_code == 302
    assert response.url.startswith("/accounts/login/")
    assert nothing_was_charged()


@pytest.mark.parametrize("path", ["", "price/", "stream/", "rendered/"])
def test_cross_site_request_is_refused(path, alice, client_of):
    client = client_of(alice, enforce_csrf_checks=True)
    assert client.post(f"/playground/{path}", fields()).status_code == 403


def test_member_may_ask(bob, client_of):
    assert client_of(bob).post("/playground/", fields()).status_code == 200


# --- The form ----------------------------------------------------------------------------------------------------


def test_price_is_shown_before_and_after(alice, client_of):
    client = client_of(alice)
    # The estimate for an empty message is 24 tokens and an answer of 1,000: 457 micro-dollars, shown rounded up.
    assert 'at most <span class="number">$0.0005</span>' in page_of(client.get("/playground/"))
    # The upstream states 18 prompt tokens and 5 completion tokens: 7.65 micro-dollars.
    page = page_of(client.post("/playground/", fields()))
    assert "word0 word1 word2 word3 word4" in page
    assert "$0.000008" in page
    assert '>18</span> input and <span class="number">5</span> output tokens' in page
    assert Entry.objects.get(kind="usage").amount_micros == -8


def test_price_of_the_filled_form_is_shown_and_charges_nothing(alice, client_of, chat):
    client = client_of(alice)
    long = fields("x" * 30_000, max_tokens="1000")
    # (10,000 + 26) x 0.3 + 1,000 x 0.45, rounded up to a hundredth of a cent.
    assert "$0.0035" in page_of(client.post("/playground/price/", long))
    assert "$0.0035" in page_of(client.post("/playground/", {**long, "price": "1"}))
    assert "Fill in the form" in page_of(client.post("/playground/price/", fields("")))
    assert chat.bodies == []
    assert nothing_was_charged()


def test_options_reach_the_model(alice, client_of, chat):
    client_of(alice).post("/playground/", fields(system="Be brief.", temperature="0.2", max_tokens="33"))
    (body,) = chat.bodies
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "normal 5"}]
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.2, 33, exchange.MODEL)
    assert "tools" not in body


@pytest.mark.long
@pytest.mark.parametrize(
    "changed",
    [
        {"message": ""},
        {"message": "x" * 60_001},
        {"model": "gpt-9"},
        {"temperature": "9"},
        {"temperature": "nan"},
        {"max_tokens": "0"},
        {"max_tokens": "65537"},
        {"token": "mine"},
    ],
)
def test_bad_input_is_not_sent(alice, client_of, chat, changed):
    client = client_of(alice)
    assert client.post("/playground/", fields(**changed)).status_code == 400
    (event,) = streamed(client, fields(**changed))
    assert event["status"] == 400
    assert event["error"]["message"]
    assert chat.bodies == []
    assert nothing_was_charged()


def test_form_that_is_sent_twice_is_charged_once(alice, client_of, chat):
    sent = fields()
    pages = [page_of(client_of(alice).post("/playground/", sent)) for _ in range(2)]
    assert all("word4" in page and "$0.000008" in page for page in pages)
    assert len(chat.bodies) == 1
    assert Entry.objects.filter(kind="usage").count() == 1


def test_conversation_goes_on_with_the_turns_before(alice, client_of, chat):
    client = client_of(alice)
    page = page_of(client.post("/playground/", fields("normal 2", max_tokens="77")))
    history = html.unescape(re.search(r'name="history" value="([^"]*)"', page).group(1))
    ((said, answered),) = json.loads(history)
    assert (said, answered.split()) == ("normal 2", ["word0", "word1"])
    # The next form has the options, and no message.
    assert 'value="77"' in page
    assert "normal 2</textarea>" not in page
    page = page_of(client.post("/playground/", fields("normal 3", history=history)))
    assert page.count('<article class="turn">') == 3, "two turns, and the template of the script"
    assert chat.bodies[-1]["messages"] == [
        {"role": "user", "content": "normal 2"},
        {"role": "assistant", "content": answered},
        {"role": "user", "content": "normal 3"},
    ]


def test_refused_message_loses_neither_itself_nor_the_conversation(alice, organization, client_of, chat):
    spend_everything(organization)
    history = json.dumps([["Who are you?", "**A model**"]])
    page = page_of(client_of(alice).post("/playground/", fields("And I?", history=history)))
    assert "And I?</textarea>" in page
    assert "<strong>A model</strong>" in page
    assert html.escape(history) in page


def test_long_conversation_forgets_its_first_turns(alice, client_of):
    history = json.dumps([["a" * 14_000, "b"], ["c" * 14_000, "d"]])
    page = page_of(client_of(alice).post("/playground/", fields("normal 400", max_tokens="1000", history=history)))
    kept = json.loads(html.unescape(re.search(r'name="history" value="([^"]*)"', page).group(1)))
    assert [said[:6] for said, _ in kept] == ["cccccc", "normal"]


@pytest.mark.long
@pytest.mark.parametrize("history", ["{", "[1]", '[["a"]]', '[["a", 1]]', '{"a": "b"}', "[" * 5_000, '[["a","b","c"]]'])
def test_broken_history_is_refused_and_not_sent(alice, client_of, chat, history):
    response = client_of(alice).post("/playground/", fields(history=history))
    assert response.status_code == 400
    assert "Start a new conversation" in page_of(response)
    assert chat.bodies == []


def test_answer_is_rendered_for_the_script(alice, client_of):
    answer = client_of(alice).post("/playground/rendered/", {"text": "**bold** <script>x</script>"})
    assert page_of(answer) == "<p><strong>bold</strong> &lt;script&gt;x&lt;/script&gt;</p>\n"
    assert client_of(alice).get("/playground/rendered/").status_code == 405


def test_rendering_is_limited(alice, client_of, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "rendering": "1/hour"}
    limits._limit.cache_clear()
    client = client_of(alice)
    answers = [client.post("/playground/rendered/", {"text": "x"}).status_code for _ in range(2)]
    limits._limit.cache_clear()
    assert answers == [200, 429]


def test_hostile_answer_is_shown_as_text(alice, client_of):
    page = page_of(client_of(alice).post("/playground/", fields("hostile")))
    assert "&lt;script&gt;document.title" in page
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert 'href="https://evil' not in page


def test_answer_with_invalid_characters_that_reached_its_limit_is_shown(alice, client_of):
    page = page_of(client_of(alice).post("/playground/", fields("unstorable")))
    assert "odd ? words" in page
    assert "reached the maximum tokens" in page


# --- Errors ------------------------------------------------------------------------------------------------------


def test_empty_balance_shows_the_top_up_link_to_admins_only(alice, bob, organization, client_of, chat):
    spend_everything(organization)
    response = client_of(alice).post("/playground/", fields())
    assert response.status_code == 402
    assert "/billing/top-up/?needed=" in page_of(response)
    assert "/billing/top-up/?needed=" not in page_of(client_of(bob).post("/playground/", fields()))
    (event,) = streamed(client_of(alice), fields())
    assert event["error"]["next_step"]["url"].startswith(f"/o/{organization.pk}/billing/top-up/?needed=")
    (event,) = streamed(client_of(bob), fields())
    assert event["error"]["next_step"] is None
    assert chat.bodies == []


@pytest.mark.long
@pytest.mark.parametrize("message", ["status 500", "status 401", "not-json"])
def test_failing_upstream_costs_nothing_and_leaks_no_secret(alice, client_of, message):
    response = client_of(alice).post("/playground/", fields(message))
    assert response.status_code == 502
    assert "Nothing was charged" in page_of(response)
    assert exchange.SECRET not in page_of(response)
    (event,) = streamed(client_of(alice), fields(message))
    assert "Nothing was charged" in event["error"]["message"]
    assert nothing_was_charged()


def test_without_an_upstream_the_page_says_so_and_the_form_is_off(alice, client_of, settings):
    settings.APEX_UPSTREAMS = []
    client = client_of(alice)
    page = page_of(client.get("/playground/"))
    assert "No language model is connected" in page
    assert '<fieldset class="playground" disabled>' in page
    assert client.post("/playground/", fields()).status_code == 503
    (event,) = streamed(client, fields())
    assert event["error"]["message"] == "The chat endpoint is not configured."


def test_rate_limit_applies_to_the_playground(alice, client_of, few_completions, chat):
    client = client_of(alice)
    assert client.post("/playground/", fields()).status_code == 200
    assert client.post("/playground/", fields()).status_code == 429
    (event,) = streamed(client, fields())
    assert event["status"] == 429
    assert len(chat.bodies) == 1


# --- The stream --------------------------------------------------------------------------------------------------


def test_stream_has_words_tokens_and_the_exact_price(alice, client_of):
    *chunks, end = streamed(client_of(alice), fields())
    words = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert words.split() == ["word0", "word1", "word2", "word3", "word4"]
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert end == {"cost": "$0.000008"}
    assert Entry.objects.get(kind="usage").amount_micros == -8
    assert Completion.objects.get().is_stream


def test_broken_stream_ends_with_an_error_and_the_price(alice, client_of):
    *_, error, end = streamed(client_of(alice), fields("cut 3"))
    assert "middle of its answer" in error["error"]["message"]
    charged = -Entry.objects.get(kind="usage").amount_micros
    assert end == {"cost": f"$0.{charged:06d}"}
    assert Wallet.objects.get().held_micros == 0


# --- Ledger and usage --------------------------------------------------------------------------------------------


def test_completion_appears_in_ledger_and_usage(alice, client_of):
    client = client_of(alice)
    client.post("/playground/", fields())
    ledger_page = page_of(client.get("/billing/ledger/"))
    assert "Chat, apex-latest" in ledger_page
    assert "18 + 5 tokens" in ledger_page
    usage_page = page_of(client.get("/billing/usage/"))
    assert "apex-latest" in usage_page
    assert "23 tokens" in usage_page
    assert "18 in, 5 out" in usage_page
    assert "In the browser" in usage_page
