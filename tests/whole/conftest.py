"""The whole product, once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests import product


@pytest.fixture(autouse=True)
def clean_redis() -> None:
    """Replaces the fixture of the other tests: the product's Redis is its own, and is not emptied under it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    with product.running(tmp_path_factory.mktemp("product")) as running:
        yield running
