"""Spools: what a dead process left is gone on with, and two processes never write into one."""

import subprocess
import sys
from pathlib import Path

import pytest

from transcription.recordings.spools import Spool


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    return tmp_path


def test_spool_that_is_kept_is_gone_on_with():
    with Spool("one") as spool:
        spool.restart(validator='"a"')
        spool.write(b"first ")
        spool.keep()
    with Spool("one") as spool:
        assert (spool.size, spool.validator) == (6, '"a"')
        spool.write(b"second")
        spool.flush()
        assert spool.path.read_bytes() == b"first second"


def test_spool_leaves_nothing_unless_it_is_kept(folder):
    with Spool("one") as spool:
        spool.restart(validator='"a"')
        spool.write(b"first")
    assert list(folder.iterdir()) == []
    with pytest.raises(ZeroDivisionError), Spool("one"):
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []


def test_bytes_of_an_entity_that_cannot_be_told_from_others_are_not_gone_on_with():
    with Spool("one") as spool:
        spool.restart(validator="")
        spool.write(b"first")
        spool.keep()
    with Spool("one") as spool:
        assert spool.size == 0


def test_second_one_of_a_name_is_another_file(folder):
    with Spool("one") as first, Spool("one") as second:
        first.restart(validator='"a"')
        first.write(b"first")
        second.write(b"second")
        second.flush()
        assert second.path.read_bytes() == b"second"
        assert first.path != second.path
    assert list(folder.iterdir()) == []


def test_lock_ends_with_its_process(folder):
    code = (
        "import fcntl, os, sys\n"
        "file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX); file.write(b'half'); file.flush()\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    path = folder / "one"
    Path(f"{path}.validator").write_text('"a"')
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with Spool("one") as spool:
            assert (spool.size, spool.path == path) == (0, False)
        other.kill()
        other.wait()
    with Spool("one") as spool:
        assert (spool.size, spool.path) == (4, path)
