"""The upstreams of the chat endpoint as the environment names them."""

import os

import pytest
from django.core.exceptions import ImproperlyConfigured

from voxsite import upstreams


@pytest.fixture(autouse=True)
def no_upstreams(monkeypatch):
    for name in list(os.environ):
        if name.startswith("APEX_UPSTREAM"):
            monkeypatch.delenv(name)


def test_without_an_address_there_is_none(monkeypatch):
    monkeypatch.setenv("APEX_UPSTREAM_API_KEY", "a key alone")
    assert upstreams.configured() == []


def test_upstreams_are_tried_by_their_number_and_a_number_may_be_free(monkeypatch):
    monkeypatch.setenv("APEX_UPSTREAM_9_BASE_URL", "https://nine.example/v1")
    monkeypatch.setenv("APEX_UPSTREAM_3_BASE_URL", "https://three.example/v1/")
    monkeypatch.setenv("APEX_UPSTREAM_3_API_KEY", "secret")
    monkeypatch.setenv("APEX_UPSTREAM_3_MODEL_NAMES", '{"a": "b"}')
    monkeypatch.setenv("APEX_UPSTREAM_BASE_URL", "https://one.example")
    monkeypatch.setenv("APEX_UPSTREAM_10_BASE_URL", "https://ten.example")
    one, three, nine = upstreams.configured()
    assert one == {"name": "upstream-1", "base_url": "https://one.example", "api_key": "", "model_names": {}}
    assert three == {
        "name": "upstream-3",
        "base_url": "https://three.example/v1",
        "api_key": "secret",
        "model_names": {"a": "b"},
    }
    assert nine["name"] == "upstream-9"


def test_names_of_models_that_are_no_json_are_refused(monkeypatch):
    monkeypatch.setenv("APEX_UPSTREAM_BASE_URL", "https://one.example")
    monkeypatch.setenv("APEX_UPSTREAM_MODEL_NAMES", "{")
    with pytest.raises(ImproperlyConfigured, match="APEX_UPSTREAM_MODEL_NAMES"):
        upstreams.configured()
