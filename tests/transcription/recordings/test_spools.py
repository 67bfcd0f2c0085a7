"""Spools: what a dead process left is gone on with, and two processes never write into one."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from transcription.recordings.disk_space import DiskFull
from transcription.recordings.spools import LOOK_BYTES, Spool


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


def test_full_disk_is_told_by_a_name_of_its_own_and_leaves_nothing(folder):
    """/dev/full refuses bytes as a full disk does."""
    with Spool("one") as spool:
        spool._file.close()
        spool._file = Path("/dev/full").open("ab")  # noqa: SIM115 - the spool closes it.
        spool.write(b"x" * 100)
        with pytest.raises(DiskFull):
            spool.flush()
    assert list(folder.iterdir()) == []


def test_reserve_of_the_disk_is_left_before_and_while_it_fills(settings, folder, monkeypatch):
    free = 50 * LOOK_BYTES
    settings.DISK_RESERVE_BYTES = 10 * LOOK_BYTES

    def usage(path):
        return SimpleNamespace(free=free - sum(file.stat().st_size for file in Path(path).iterdir()))

    monkeypatch.setattr(shutil, "disk_usage", usage)

    def fill(spool):
        for _ in range(40):
            spool.write(bytes(LOOK_BYTES))
            spool.flush()

    with Spool("one") as spool:
        spool.require_space(40 * LOOK_BYTES)
        free = 14 * LOOK_BYTES  # Others fill the disk.
        with pytest.raises(DiskFull):
            spool.require_space(40 * LOOK_BYTES)
        with pytest.raises(DiskFull):
            fill(spool)
        assert 0 < spool.size <= 4 * LOOK_BYTES
    assert list(folder.iterdir()) == []


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
