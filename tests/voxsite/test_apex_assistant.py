"""The chat endpoint as the assistant of transcripts, with an upstream that does what it is told."""

import asyncio
import subprocess
import sys
import uuid

import pytest

from accounts import api_keys
from accounts.errors import UpstreamFailed
from accounts.gate.idempotency import own_key
from apex import upstream
from billing import statements
from billing.charge_tags import WorkTags
from billing.models import Entry
from tests.product import PROJECT_DIR, environment_of
from voxsite.apex_assistant import ApexAssistant

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]
KEY = own_key("transcript", uuid.uuid4(), uuid.uuid4())
TAGS = WorkTags({"customer": "acme"}, work_reference="job:1")


def body(content, **fields):
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 100, **fields}


def test_reply_has_text_tokens_and_price(organization, chat):
    before = statements.balance(organization).balance_micros
    reply = ApexAssistant().complete(organization, body=body("normal 5"), idempotency_key=KEY, tags=TAGS)
    assert (reply.text, reply.is_cut) == ("word0 word1 word2 word3 word4", False)
    # 18 tokens of prompt and 5 of completion.
    assert (reply.tokens, reply.charged_micros) == (23, 8)
    assert statements.balance(organization).balance_micros == before - 8
    assert ApexAssistant().max_micros(body("normal 5")) > 8


def test_same_key_is_answered_and_charged_once(organization, chat):
    first, again = (
        ApexAssistant().complete(organization, body=body("normal 5"), idempotency_key=KEY, tags=TAGS) for _ in range(2)
    )
    assert first == again
    assert len(chat.bodies) == 1


def test_missing_usage_is_charged_and_not_invented(organization, chat):
    reply = ApexAssistant().complete(organization, body=body("no-usage 5"), idempotency_key=KEY, tags=TAGS)
    assert reply.tokens is None
    assert reply.charged_micros > 0


def test_failure_of_the_upstream_is_raised_and_costs_nothing(organization, chat):
    before = statements.balance(organization).balance_micros
    with pytest.raises(UpstreamFailed):
        ApexAssistant().complete(organization, body=body("status 500"), idempotency_key=KEY, tags=TAGS)
    after = statements.balance(organization)
    assert (after.balance_micros, after.held_micros) == (before, 0)


@pytest.mark.parametrize("is_ready", [True, False])
def test_assistant_is_ready_where_an_upstream_is_configured(chat, settings, is_ready):
    settings.APEX_UPSTREAMS = settings.APEX_UPSTREAMS if is_ready else []
    assert ApexAssistant().is_ready() is is_ready


def test_reply_without_a_thread_is_the_same_and_counts_for_the_key(organization, chat):
    key, _ = api_keys.issue(organization, name="a", by=None)

    async def ask():
        try:
            return await ApexAssistant().reply(
                organization, body=body("normal 5"), api_key=key, idempotency_key=KEY, tags=TAGS
            )
        finally:
            await upstream.close()

    reply = asyncio.run(ask())
    assert (reply.text, reply.tokens, reply.charged_micros) == ("word0 word1 word2 word3 word4", 23, 8)
    entry = Entry.objects.get(kind="usage")
    assert entry.details["api_key_id"] == str(key.pk)
    assert list(entry.tags.values_list("name", "value", "work_reference")) == [("customer", "acme", "job:1")]


def test_models_are_those_of_the_catalogue():
    assert ApexAssistant().has_model("apex-latest")
    assert not ApexAssistant().has_model("gpt-4.1")


@pytest.mark.long
def test_workers_do_not_load_the_chat_service():
    code = "import sys, django; django.setup(); import voxsite.apex_assistant; sys.exit('apex.service' in sys.modules)"
    environment = environment_of(DJANGO_SETTINGS_MODULE="voxsite.settings", VOXSITE_ENV="development")
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, env=environment, check=True, timeout=60)
