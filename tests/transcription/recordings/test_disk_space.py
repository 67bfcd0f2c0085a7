"""The reserve of the disk that files of customers leave."""

import errno
import shutil
from types import SimpleNamespace

import pytest

from transcription.recordings import disk_space
from transcription.recordings.disk_space import DiskFull


def test_reserve_is_left(tmp_path, monkeypatch, settings):
    settings.DISK_RESERVE_BYTES = 100
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=150))
    disk_space.require(tmp_path, size_bytes=50)
    assert disk_space.has_room(tmp_path, size_bytes=50)
    with pytest.raises(DiskFull):
        disk_space.require(tmp_path, size_bytes=51)
    assert not disk_space.has_room(tmp_path, size_bytes=51)


def test_open_file_knows_the_reserve_of_its_volume(tmp_path, settings):
    with (tmp_path / "file").open("wb") as file:
        settings.DISK_RESERVE_BYTES = 0
        disk_space.require_reserve(file.fileno())
        settings.DISK_RESERVE_BYTES = 1 << 62
        with pytest.raises(DiskFull):
            disk_space.require_reserve(file.fileno())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_of_the_system_has_one_name(number):
    with pytest.raises(DiskFull), disk_space.told_if_full():
        raise OSError(number, "no room")


def test_other_errors_of_the_system_stay():
    with pytest.raises(PermissionError), disk_space.told_if_full():
        raise PermissionError
