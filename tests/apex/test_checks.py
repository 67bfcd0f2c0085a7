import pytest

from apex import catalogue, checks

GOOD = {"upstream": "x/y", "prompt_micros": 1, "completion_micros": 2, "max_completion_tokens": 3}


@pytest.mark.parametrize(
    "models",
    [
        {},
        [],
        None,
        {"": GOOD},
        {"a": None},
        {"a": {**GOOD, "more": 1}},
        {"a": {name: value for name, value in GOOD.items() if name != "prompt_micros"}},
        *({"a": {**GOOD, name: value}} for name in catalogue.FIELDS[1:] for value in (0, -1, 1.5, "1", None, True)),
        *({"a": {**GOOD, "cached_prompt_micros": value}} for value in (0, -1, 0.5, "1", None, True, 2)),
        *({"a": {**GOOD, "temperature": value}} for value in (-0.1, 2.1, "hot", None, True)),
        *({"a": {**GOOD, "limit_field": value}} for value in ("n_predict", "", None, 5)),
        {"a": {**GOOD, "upstream": ""}},
        {"a": {**GOOD, "upstream": 5}},
    ],
)
def test_invalid_models_prevent_the_start(settings, models):
    settings.APEX_MODELS = models
    assert [fault.id for fault in checks.models_have_prices(None)] == ["apex.E001"]


def test_valid_models_and_upstreams_pass(settings):
    settings.APEX_MODELS = {
        "a": GOOD,
        "b": {**GOOD, "cached_prompt_micros": 1, "temperature": 0.7, "limit_field": "max_tokens"},
    }
    settings.APEX_UPSTREAMS = [
        {"name": "u", "base_url": url, "api_key": "", "model_names": {"a": "b"}}
        for url in ("https://openrouter.ai/api/v1", "http://10.0.0.7:8000/v1")
    ]
    assert checks.models_have_prices(None) == []
    assert checks.upstreams_have_addresses(None) == []


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("base_url", "openrouter.ai", "apex.E002"),
        ("base_url", "ftp://x", "apex.E002"),
        ("base_url", "https://", "apex.E002"),
        ("model_names", ["a"], "apex.E003"),
        ("model_names", {"a": 1}, "apex.E003"),
    ],
)
def test_invalid_upstreams_prevent_the_start(settings, field, value, fault):
    settings.APEX_UPSTREAMS = [{"name": "u", "base_url": "http://x", "api_key": "", "model_names": {}, field: value}]
    assert [each.id for each in checks.upstreams_have_addresses(None)] == [fault]
