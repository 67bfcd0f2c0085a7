import pytest
from pytest_django import Settings

from billing import tariff


@pytest.fixture(autouse=True)
def rates(settings: Settings) -> None:
    settings.PRICES_PER_HOUR_MICROS = {"standard": 300_000, "premium": 600_000}


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
    assert caught.value.message == f"There is no model '{'x' * 64}'. Models: standard, premium."
