"""Running products for the files of this folder to share: tests/scheduling.py says which file uses which."""

from collections.abc import Iterator

import pytest

from tests import product
from tests.fixtures import tiny_whisper

# So that as many jobs are at work at once.
WHISPER_WORKERS = 8


@pytest.fixture(autouse=True)
def clean_redis() -> None:
    """Replaces the fixture of the other tests: the product's Redis is its own, and is not emptied under it."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    """The product with PocketSphinx, for tests with organizations of their own that leave it as it was."""
    with product.running(tmp_path_factory.mktemp("product")) as running:
        yield running


@pytest.fixture(scope="session")
def killed_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    """Another one, for tests that kill its processes, empty its Redis or keep it busy for a while."""
    with product.running(tmp_path_factory.mktemp("product")) as running:
        yield running


@pytest.fixture(scope="session")
def whisper_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    """The product with the tiny Whisper and eight workers, which tests may kill, too."""
    model = str(tiny_whisper.build(tmp_path_factory.mktemp("model")))
    switches = {
        "VOXSITE_ENGINE": "faster_whisper",
        "VOXSITE_WHISPER_STANDARD": model,
        "VOXSITE_WHISPER_PREMIUM": model,
        "VOXSITE_WORKERS": str(WHISPER_WORKERS),
    }
    with product.running(tmp_path_factory.mktemp("product"), **switches) as running:
        yield running
