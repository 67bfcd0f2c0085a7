"""Which process of pytest-xdist runs which files with `--dist loadfile`, as the slow tests of .ci/run are run.

Files that share a running product come to one process: to start a product costs about 25 s of a core, and 45 s with
eight workers. What takes longest begins first, so that no process waits for another at the end.
"""

from pathlib import PurePath

import pytest
from xdist.scheduler import LoadFileScheduling

PRODUCT, KILLED_PRODUCT, WHISPER_PRODUCT = "product", "killed product", "product with Whisper"

# The product whose fixture in tests/whole/conftest.py a file uses.
PRODUCTS = {
    "tests/whole/test_asr_clients.py": WHISPER_PRODUCT,
    "tests/whole/test_batches.py": KILLED_PRODUCT,
    "tests/whole/test_broken_connections.py": KILLED_PRODUCT,
    "tests/whole/test_cancel.py": WHISPER_PRODUCT,
    "tests/whole/test_crashes.py": KILLED_PRODUCT,
    "tests/whole/test_deepgram_clients.py": WHISPER_PRODUCT,
    "tests/whole/test_deepgram_clients_of_npm.py": WHISPER_PRODUCT,
    "tests/whole/test_disturbances.py": WHISPER_PRODUCT,
    "tests/whole/test_guides.py": PRODUCT,
    "tests/whole/test_openai_clients.py": PRODUCT,
    "tests/whole/test_openai_clients_of_indexes.py": PRODUCT,
    "tests/whole/test_signed_uploads.py": KILLED_PRODUCT,
    "tests/whole/test_slow_uploads.py": KILLED_PRODUCT,
    "tests/whole/test_uploads.py": PRODUCT,
    "tests/whole/test_voxscriber.py": PRODUCT,
}

# What takes minutes, the longest first. The other files of tests/whole follow, then all others.
LONGEST = (
    "tests/whole/test_described_api.py",
    WHISPER_PRODUCT,
    PRODUCT,
    "tests/whole/test_transcribeapi_clients.py",
    KILLED_PRODUCT,
    "tests/whole/test_outages.py",
    "tests/whole/test_money_bugs.py",
    "tests/transcription/speech/engines/test_whisper_base.py",
    "tests/whole/test_apex.py",
    "tests/billing/test_payments_properties.py",
    "tests/billing/test_stripe_tables.py",
)


class LongestFirst(LoadFileScheduling):
    """Gives whole files to the processes; files with one product are as one file."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return PRODUCTS.get(path, path)

    def _assign_work_unit(self, node) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
        super()._assign_work_unit(node)


def rank(unit: str) -> int:
    """Return which file or product comes first: that with the lowest number."""
    if unit in LONGEST:
        return LONGEST.index(unit)
    return len(LONGEST) + (PurePath(unit).parent != PurePath("tests/whole"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> LoadFileScheduling | None:
    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None
