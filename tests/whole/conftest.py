"""The whole product: with PocketSphinx for a module's tests, and with the tiny Whisper once for all of this folder."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import product
from tests.fixtures import tiny_whisper

# So that as many jobs are at work at once.
WHISPER_WORKERS = 8
CLIENTS_WORKERS = 2


@pytest.fixture(autouse=True)
def clean_redis() -> None:
    """Replaces the fixture of the other tests: the product's Redis is its own, and is not emptied under it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    with product.running(tmp_path_factory.mktemp("product")) as running:
        yield running


@pytest.fixture(scope="session")
def whisper_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    with _running_whisper(tmp_path_factory, workers=WHISPER_WORKERS) as running:
        yield running


@pytest.fixture(scope="session")
def clients_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    """The same for tests that send few recordings at once: each worker costs 2 to 4 s of a core to start."""
    with _running_whisper(tmp_path_factory, workers=CLIENTS_WORKERS) as running:
        yield running


@contextmanager
def _running_whisper(tmp_path_factory: pytest.TempPathFactory, *, workers: int) -> Iterator[product.Product]:
    model = str(tiny_whisper.build(tmp_path_factory.mktemp("model")))
    switches = {
        "VOXSITE_ENGINE": "faster_whisper",
        "VOXSITE_WHISPER_STANDARD": model,
        "VOXSITE_WHISPER_PREMIUM": model,
        "VOXSITE_WORKERS": str(workers),
    }
    with product.running(tmp_path_factory.mktemp("product"), **switches) as running:
        yield running
