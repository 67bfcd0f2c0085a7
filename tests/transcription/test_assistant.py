import asyncio

import pytest

from accounts.errors import NotConfigured
from transcription import assistant
from voxsite.apex_assistant import ApexAssistant


def test_site_plugs_in_its_assistant():
    assert isinstance(assistant.current(), ApexAssistant)


def test_without_one_nothing_is_ready():
    none = assistant.NoAssistant()
    assert not none.is_ready()
    assert not none.has_model("apex-latest")
    with pytest.raises(NotConfigured):
        none.max_micros({})
    with pytest.raises(NotConfigured):
        none.estimate(None, body={}, api_key=None)
    with pytest.raises(NotConfigured):
        none.complete(None, body={}, idempotency_key="x", tags={})
    with pytest.raises(NotConfigured):
        asyncio.run(none.reply(None, body={}, api_key=None, idempotency_key="x", tags={}))
