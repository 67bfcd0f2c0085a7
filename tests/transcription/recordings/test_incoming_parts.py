"""Parts come in any order, more than once and at once, and become one file without being copied."""

import os
import threading
import uuid
import zlib

import pytest

from transcription.recordings import disk_space, incoming, incoming_parts
from transcription.recordings.incoming import Gone

UPLOAD = uuid.UUID(int=1)
PART = 1000
ID = {"multipart_id": "one"}


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"
    incoming_parts.begin_parts(UPLOAD, **ID)
    return incoming.folder_of(UPLOAD, **ID)


def begin(number):
    return incoming_parts.part(UPLOAD, **ID, number=number, part_bytes=PART)


def send(number, content):
    with begin(number) as part:
        part.write([content])
        part.keep()
        return part.etag


def etag_of(content):
    return f"{zlib.crc32(content):08x}-{len(content)}"


def assembled(*contents):
    return incoming_parts.assembled(UPLOAD, **ID, etags=[etag_of(content) for content in contents], part_bytes=PART)


def joined(*contents):
    with assembled(*contents) as path:
        return None if path is None else path.read_bytes()


def come(count=3):
    return sorted(incoming_parts.parts_of(UPLOAD, **ID, count=count))


FIRST, SECOND, LAST = os.urandom(PART), os.urandom(PART), os.urandom(10)


def test_parts_in_any_order_become_one_file_that_nobody_copied(folder):
    assert [send(3, LAST), send(1, FIRST), send(2, SECOND)] == [etag_of(LAST), etag_of(FIRST), etag_of(SECOND)]
    number = (folder / incoming_parts.PARTS).stat().st_ino
    with assembled(FIRST, SECOND, LAST) as path:
        assert path.read_bytes() == FIRST + SECOND + LAST
        assert path.stat().st_ino == number


def test_etag_of_all_tells_their_order_and_number():
    one, two = etag_of(FIRST), etag_of(SECOND)
    etags = {incoming_parts.joint_etag(parts) for parts in ([one, two], [two, one], [one], [two], [one, two, two])}
    assert len(etags) == 5
    assert incoming_parts.joint_etag([one, two]).endswith("-2")


def test_broken_part_leaves_nothing(folder):
    with begin(1) as part:
        part.write([FIRST[:500]])
    assert come() == []
    assert [path.name for path in folder.iterdir()] == [incoming_parts.PARTS]
    send(1, FIRST)
    assert joined(FIRST) == FIRST


def test_broken_repeat_leaves_the_part_that_came(folder):
    send(1, FIRST)
    before = {path.name for path in folder.iterdir()}
    with begin(1) as part:
        part.write([SECOND[:500]])
    assert {path.name for path in folder.iterdir()} == before
    assert joined(FIRST) == FIRST


def test_repeat_replaces_the_part(folder):
    send(1, FIRST)
    for content in (SECOND, FIRST, SECOND):
        send(1, content)
    assert len([path for path in folder.iterdir() if "beside" in path.name]) == 1
    assert joined(FIRST) is None
    assert joined(SECOND) == SECOND
    assert joined(SECOND) == SECOND


def test_two_at_once_are_each_whole_and_the_last_to_end_counts():
    with begin(1) as one, begin(1) as other:
        for start in range(0, PART, 100):
            one.write([FIRST[start : start + 100]])
            other.write([SECOND[start : start + 100]])
        other.keep()
        one.keep()
    assert joined(FIRST) == FIRST
    with begin(2) as one, begin(2) as other:
        one.write([FIRST])
        other.write([SECOND])
        one.keep()
        other.keep()
    assert joined(FIRST, SECOND) == FIRST + SECOND


def test_many_threads_send_the_same_parts():
    contents = {number: [os.urandom(PART) for _ in range(4)] for number in (1, 2)}
    threads = [threading.Thread(target=send, args=(n, content)) for n in contents for content in contents[n]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = incoming_parts.parts_of(UPLOAD, **ID, count=2)
    etags = [records[number].etag for number in (1, 2)]
    with incoming_parts.assembled(UPLOAD, **ID, etags=etags, part_bytes=PART) as path:
        content = path.read_bytes()
    assert [etag_of(content[:PART]), etag_of(content[PART:])] == etags


def test_sender_that_is_left_behind_writes_nothing_into_the_whole(tmp_path):
    slow = begin(1)
    slow.write([FIRST[:500]])
    send(1, SECOND)
    with assembled(SECOND) as path:
        path.rename(tmp_path / "stored")
        incoming.remove(UPLOAD, **ID)
    for act in (lambda: slow.write([FIRST[500:]]), slow.keep):
        with pytest.raises(Gone):
            act()
    slow.close()
    assert (tmp_path / "stored").read_bytes() == SECOND


def test_sender_that_was_overtaken_harms_no_second_try():
    """The first try fails after the parts were put together, for example because the database was away."""
    slow = begin(1)
    slow.write([FIRST[:500]])
    send(1, SECOND)
    assert joined(SECOND) == SECOND
    with pytest.raises(Gone):
        slow.write([FIRST[500:]])
    slow.close()
    assert joined(SECOND) == SECOND


def test_repeat_that_comes_while_parts_are_put_together_ends_at_once():
    """It would hold a thread that other uploads need."""
    send(1, FIRST)
    with begin(1) as beside, assembled(FIRST) as path:
        beside.write([SECOND])
        with pytest.raises(Gone):
            beside.keep()
        assert path.read_bytes() == FIRST
    assert joined(FIRST) == FIRST


def test_who_asks_too_early_does_not_disturb_parts_that_still_come():
    send(1, FIRST)
    with begin(2) as part, assembled(FIRST, SECOND) as path:
        assert path is None
        part.write([SECOND])
        part.keep()
    assert joined(FIRST, SECOND) == FIRST + SECOND


def test_place_that_a_killed_sender_has_claimed_harms_nobody(folder):
    (folder / "1.claim").touch()
    send(1, FIRST)
    assert joined(FIRST) == FIRST


@pytest.mark.parametrize("act", [lambda: begin(1), lambda: assembled(FIRST).__enter__()])
def test_parts_of_an_upload_that_has_ended_are_refused(act, folder):
    incoming.remove(UPLOAD, **ID)
    with pytest.raises(Gone):
        act()
    assert not folder.exists()


def test_folder_that_is_being_removed_does_not_come_back(folder):
    etags = [send(1, FIRST), send(2, SECOND)]
    # Another process removes the folder, and has come as far as the file for all parts.
    (folder / incoming_parts.PARTS).unlink()
    with pytest.raises(Gone), incoming_parts.assembled(UPLOAD, **ID, etags=etags, part_bytes=PART):
        pass
    with pytest.raises(Gone):
        begin(3)
    assert not (folder / incoming_parts.PARTS).exists()


def test_space_of_parts_is_what_they_take_and_not_where_they_lie():
    begin_at_the_end = incoming_parts.part(UPLOAD, **ID, number=1000, part_bytes=10**6)
    with begin_at_the_end as part:
        part.write([os.urandom(100_000)])
        assert 100_000 <= incoming_parts.bytes_on_disk(UPLOAD, **ID) < 200_000
        part.keep()
    with begin(1000) as repeat:
        repeat.write([os.urandom(100_000)])
        assert 200_000 <= incoming_parts.bytes_on_disk(UPLOAD, **ID) < 300_000
    incoming.remove(UPLOAD, **ID)
    assert incoming_parts.bytes_on_disk(UPLOAD, **ID) == 0


def test_part_that_is_whole_when_the_upload_is_given_up_is_lost():
    with begin(1) as part:
        part.write([FIRST])
        incoming.remove(UPLOAD, **ID)
        incoming_parts.begin_parts(UPLOAD, **ID)
        with pytest.raises(Gone):
            part.keep()
    assert come() == []


def test_missing_and_other_parts_are_told():
    assert joined(FIRST) is None
    send(2, SECOND)
    assert joined(FIRST, SECOND) is None
    send(1, FIRST)
    assert joined(SECOND, FIRST) is None
    assert joined(FIRST, SECOND) == FIRST + SECOND
    assert come() == [1, 2]


def test_full_volume_is_told_when_a_repeat_is_brought_in(monkeypatch):
    send(1, FIRST)
    send(1, SECOND)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        with pytest.raises(disk_space.DiskFull):
            joined(SECOND)
    assert joined(SECOND) == SECOND
