import pytest
from pytest_django import Settings

from billing import tariff


@pytest.fixture(autouse=True)
def rates(settings: Settings) -> None:
    settings.PRICES_PER_HOUR_MICROS = {"standard": 300_000, "premium": 600_000}
    settings.MODEL_NAMES = {
        "whisper-1": ("standard", 360_000),
        "whisper-*": ("premium", None),
        "whisper-large-*": ("standard", None),
    }


def test_rate_and_price_come_from_the_settings() -> None:
    assert tariff.models() == ["standard", "premium"]
    assert tariff.rate_of("premium") == 600_000
    assert tariff.price_of("standard", 60_000) == 5_000


def test_anything_longer_than_nothing_costs_a_second() -> None:
    assert tariff.price_of("premium", 1) == tariff.price_of("premium", 1000) == 167
    assert tariff.price_of("premium", 0) == 0


def test_unknown_model_is_named_with_those_that_exist() -> None:
    with pytest.raises(tariff.UnpricedModel) as caught:
        tariff.price_of("x" * 100, 1000)
    assert caught.value.http_status == 400
    assert caught.value.data == {"param": "model"}
    assert caught.value.message == f"There is no model '{'x' * 64}'. Models: standard, premium, whisper-1."


def test_name_of_another_api_has_a_price_of_its_own_and_a_model_behind_it() -> None:
    assert tariff.model_named("whisper-1") == tariff.PricedModel(
        "whisper-1", underlying="standard", hour_micros=360_000
    )
    assert tariff.price_of("whisper-1", 60_000) == 6_000
    assert tariff.model_named("premium") == tariff.PricedModel("premium", underlying="premium", hour_micros=600_000)


def test_name_without_a_price_costs_what_the_model_behind_it_costs() -> None:
    assert tariff.model_named("whisper-x").underlying == "premium"
    assert tariff.rate_of("whisper-x") == 600_000


def test_longest_pattern_that_fits_counts() -> None:
    assert tariff.rate_of("whisper-large-v2") == 300_000


@pytest.mark.parametrize("name", ["whisper-*", "whisper-", "whisper-\n", "whisper-é", "whisper-" + "x" * 60, "", "*"])
def test_name_that_no_row_could_keep_is_unknown(name: str) -> None:
    with pytest.raises(tariff.UnpricedModel):
        tariff.model_named(name)


def test_pages_offer_our_own_models_only() -> None:
    assert tariff.models() == [str(row["model"]).lower() for row in tariff.price_table()] == ["standard", "premium"]
    assert tariff.names() == ["standard", "premium", "whisper-1"]
