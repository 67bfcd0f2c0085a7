"""Bytes on their way fill files that vanish unless they are kept."""

import os
import threading
import uuid
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from transcription.recordings import incoming
from transcription.recordings.disk_space import DiskFull
from transcription.recordings.incoming import Gone

UPLOAD = uuid.UUID(int=1)


@pytest.fixture(autouse=True)
def own_folder(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"
    return settings.INCOMING_DIR


def left(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_bytes_are_written_in_their_order_and_hashed():
    content = os.urandom(300_000)
    with incoming.whole(UPLOAD) as file:
        for start in range(0, len(content), 70_000):
            file.write([content[start : start + 35_000], b"", content[start + 35_000 : start + 70_000]])
        assert file.path.read_bytes() == content
        assert (file.size_bytes, file.etag) == (len(content), f"{zlib.crc32(content):08x}-{len(content)}")
        assert file.path.stat().st_mode & 0o077 == 0


def test_thousands_of_small_pieces_are_written_at_once():
    """The kernel takes 1,024 pieces in one call."""
    with incoming.whole(UPLOAD) as file:
        file.write([bytes([number % 256]) for number in range(5000)])
        assert file.path.read_bytes() == bytes(number % 256 for number in range(5000))


def test_file_that_is_not_kept_vanishes_with_its_folder(own_folder):
    with incoming.whole(UPLOAD) as file, incoming.whole(UPLOAD) as other:
        file.write([b"a"])
        other.write([b"b"])
        file.close()
        assert left(own_folder) == [other.path]
    assert list(own_folder.iterdir()) == []


def test_closed_file_takes_nothing(own_folder):
    """A thread may write later than its request ends. By then the descriptor's number may be another file's."""
    file = incoming.whole(UPLOAD)
    file.close()
    file.close()
    with pytest.raises(Gone):
        file.write([b"late"])
    assert left(own_folder) == []


def test_closing_waits_for_a_thread_that_writes():
    file = incoming.whole(UPLOAD)
    has_begun, may_end = threading.Event(), threading.Event()

    class Slow(bytes):
        def __len__(self):
            has_begun.set()
            assert may_end.wait(60)
            return super().__len__()

    writing = threading.Thread(target=file.write, args=([Slow(b"abc")],))
    writing.start()
    assert has_begun.wait(60)
    closing = threading.Thread(target=file.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    may_end.set()
    writing.join()
    closing.join()
    assert file.size_bytes == 3


def test_measured_bytes_are_not_kept(own_folder):
    with incoming.Measured() as file:
        file.write([b"abc"])
        assert (file.size_bytes, file.etag) == (3, f"{zlib.crc32(b'abc'):08x}-3")
    assert left(own_folder) == []
    assert Path(os.devnull).exists()


def test_room_is_what_the_reserve_leaves(settings, own_folder, monkeypatch):
    settings.DISK_RESERVE_BYTES = 100
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    for _ in range(3):
        incoming.require_room(900)
        with pytest.raises(DiskFull):
            incoming.require_room(901)


def test_file_stops_where_the_reserve_begins(settings, own_folder):
    """Others may have filled the volume since it began."""
    with incoming.whole(UPLOAD) as file:
        file.write([b"a"])
        settings.DISK_RESERVE_BYTES = 10**18
        with pytest.raises(DiskFull):
            file.write([b"b"])
        assert file.size_bytes == 1
    assert left(own_folder) == []


def test_full_volume_is_told_apart_from_other_faults(settings):
    settings.DISK_RESERVE_BYTES = 0
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with incoming.IncomingFile(Path("/dev/full"), descriptor=descriptor) as file:
        file._discard = lambda: None
        with pytest.raises(DiskFull):
            file.write([b"a"])


def test_only_what_nobody_has_written_to_for_a_day_is_an_orphan(own_folder):
    now = timezone.now()
    old = (now - timedelta(hours=25)).timestamp()
    for name in (f"{UPLOAD}", f"{UPLOAD}.abc", "something", f"{uuid.UUID(int=2)}.def"):
        (own_folder / name).mkdir(parents=True)
        (own_folder / name / "file").touch()
        os.utime(own_folder / name / "file", (old, old))
        os.utime(own_folder / name, (old, old))
    (own_folder / f"{uuid.UUID(int=2)}.def" / "file").touch()
    found = {(folder.name, upload_id, number) for folder, upload_id, number in incoming.orphans(now=now)}
    assert found == {(str(UPLOAD), UPLOAD, ""), (f"{UPLOAD}.abc", UPLOAD, "abc"), ("something", None, "")}
    for folder, _, _ in incoming.orphans(now=now):
        incoming.remove_folder(folder)
    assert [folder.name for folder in own_folder.iterdir()] == [f"{uuid.UUID(int=2)}.def"]
