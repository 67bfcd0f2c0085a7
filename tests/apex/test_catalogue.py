import pytest

from apex import catalogue
from apex.errors import UnknownModel

GOOD = {"upstream": "x/y", "prompt_micros": 1, "completion_micros": 2, "max_completion_tokens": 3}


def test_apex_latest_has_the_prices_of_the_contract():
    model = catalogue.find("apex-latest")
    assert model.upstream_name == "deepseek/deepseek-v3.2"
    assert (model.rates.prompt_micros, model.rates.completion_micros) == (300_000, 450_000)


def test_error_for_an_unknown_model_lists_the_known_ones():
    with pytest.raises(UnknownModel, match="apex-latest"):
        catalogue.find("gpt-4")


def test_changed_setting_is_read_again(settings):
    catalogue.models()
    settings.APEX_MODELS = {"other": GOOD}
    assert list(catalogue.models()) == ["other"]


def test_price_of_cached_tokens_is_shown_if_there_is_one(settings):
    assert "cached" not in catalogue.find("apex-latest").price_text
    settings.APEX_MODELS = {"a": {**GOOD, "prompt_micros": 300_000, "cached_prompt_micros": 30_000}}
    assert "$0.30 ($0.03 if cached) per million input tokens" in catalogue.find("a").price_text
