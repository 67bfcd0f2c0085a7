"""Which process runs which slow files, asked of a small run, and whether the tables agree with the files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.database import PROJECT_DIR
from tests.scheduling import KILLED_PRODUCT, LONGEST, PRODUCT, PRODUCTS, WHISPER_PRODUCT

TESTS = """
import os, time

def note(number):
    with open("ran", "a") as ran:
        ran.write(f"{os.environ['PYTEST_XDIST_WORKER']} {__file__.rpartition('/')[2]} {number}\\n")
    time.sleep(0.2)

def test_one(): note(1)
def test_two(): note(2)
def test_three(): note(3)
"""
KILLS = re.compile(r"\.kill\(\)|flushall")


@pytest.mark.long
def test_files_with_one_product_come_to_one_process_and_long_ones_first(tmp_path):
    shared = [path for path, name in PRODUCTS.items() if name == WHISPER_PRODUCT]
    # The longest is listed last and has as many tests as the others.
    for path in ["tests/whole/test_a.py", *shared, LONGEST[0]]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-p", "tests.scheduling"]
    subprocess.run(
        [*command, "-p", "no:django", "-p", "no:randomly", "-q"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(PROJECT_DIR)},
        check=True,
        capture_output=True,
    )
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    assert len(ran) == 3 * (len(shared) + 2)
    of_whisper = {process for process, file, _ in ran if f"tests/whole/{file}" in shared}
    of_longest = {process for process, file, _ in ran if f"tests/whole/{file}" == LONGEST[0]}
    assert len(of_whisper) == 1
    assert len(of_longest) == 1
    assert of_whisper != of_longest
    firsts = {process: file for process, file, _ in reversed(ran)}
    assert "test_a.py" not in firsts.values()


def test_files_that_are_named_are_there():
    paths = [*PRODUCTS, *(name for name in LONGEST if name not in PRODUCTS.values())]
    assert [path for path in paths if not (PROJECT_DIR / path).exists()] == []


@pytest.mark.parametrize("path", sorted((PROJECT_DIR / "tests/whole").glob("test_*.py")), ids=lambda path: path.stem)
def test_every_file_that_uses_a_shared_product_is_named(path: Path):
    text = path.read_text()
    has_own = "product.running" in text or "fleet.running" in text
    used = PRODUCTS.get(str(path.relative_to(PROJECT_DIR)))
    if has_own:
        assert used is None
    elif "whisper_site" in text:
        assert used == WHISPER_PRODUCT
    else:
        assert used == (KILLED_PRODUCT if "killed_site" in text else PRODUCT)
    # What others use at the same time is left running and as it was.
    assert used != PRODUCT or not KILLS.search(text)
