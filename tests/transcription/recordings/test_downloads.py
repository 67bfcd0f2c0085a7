"""Downloads from a real server: interruptions, other files at the same URL, and everything that is refused."""

import shutil
import socket
import threading
import time
from functools import partial

import pytest

from accounts.errors import BadMedia, TooLarge, VoxsiteError
from tests.transcription import remote
from tests.transcription.hostile_addresses import HOSTILE, attackers_dns
from transcription import outbound
from transcription.recordings import downloads
from transcription.recordings.downloads import Stopped
from transcription.recordings.spools import LOOK_BYTES, Spool

pytestmark = pytest.mark.enable_socket
CONTENT = bytes(range(256)) * 4000
NO_PAUSES = (0.0,) * 5


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


@pytest.fixture
def server(settings):
    with remote.running(CONTENT) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


def fetch(url, *, spool, max_bytes=10_000_000, max_seconds=60.0, **arguments):
    arguments = {"pauses": NO_PAUSES, **arguments}
    downloads.download(url, spool=spool, max_bytes=max_bytes, max_seconds=max_seconds, **arguments)
    return spool.path.read_bytes()


def refusal(url, **arguments):
    with Spool("one") as spool, pytest.raises((BadMedia, TooLarge)) as caught:
        fetch(url, spool=spool, **arguments)
    assert caught.value.data == {"param": "url"}
    return caught.value.type, caught.value.http_status


@pytest.mark.parametrize("path", ["/whole", "/page.html", "/redirect?to=/whole", "/chunked"])
def test_file_comes_whole_whatever_it_is_called(server, path):
    with Spool("one") as spool:
        assert fetch(server.url(path), spool=spool) == CONTENT
    assert server.ranges() == [None] * len(server.asked)


@pytest.mark.long
@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_address_is_not_downloaded(url):
    assert refusal(url, look_up=attackers_dns) == ("url_not_allowed", 400)


@pytest.mark.parametrize("path", ["/listen", "/listen?type=audio/mpeg", "/redirect?to=/listen"])
def test_web_page_is_refused_at_its_first_bytes(server, path):
    with Spool("one") as spool, pytest.raises(BadMedia, match=r"leads to a web page.*Download") as caught:
        fetch(server.url(path), spool=spool)
    assert (caught.value.type, caught.value.data) == ("not_audio", {"param": "url"})


def test_broken_download_goes_on_where_it_broke(server):
    with Spool("one") as spool:
        assert fetch(server.url("/cut?bytes=300000"), spool=spool) == CONTENT
    assert server.ranges() == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert {one.headers.get("If-Range") for one in server.asked[1:]} == {'"one"'}


def test_file_that_changed_meanwhile_is_fetched_from_its_beginning(server):
    with Spool("one") as spool:
        assert fetch(server.url("/cut-and-changed?bytes=300000"), spool=spool) == CONTENT[::-1]
        assert spool.validator == '"two"'


def test_server_without_ranges_is_asked_for_all_of_it_again(server):
    with Spool("one") as spool:
        assert fetch(server.url("/cut-without-ranges?bytes=300000"), spool=spool) == CONTENT


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_file_that_cannot_be_told_from_another_one_is_never_gone_on_with(server, etag):
    server.etag = etag
    with Spool("one") as spool:
        assert fetch(server.url("/cut-once?bytes=300000"), spool=spool) == CONTENT
    assert server.ranges() == [None, None]


def test_old_date_is_as_good_as_a_tag(server):
    server.etag, server.modified = "", "Sun, 01 Nov 2026 10:00:00 GMT"
    with Spool("one") as spool:
        assert fetch(server.url("/cut-once?bytes=300000"), spool=spool) == CONTENT
    assert server.asked[1].headers["If-Range"] == server.modified


@pytest.mark.parametrize("path", ["/wrong-part", "/wrong-status"])
def test_part_that_was_not_asked_for_is_not_added(server, path):
    with Spool("one") as spool:
        assert fetch(server.url(f"{path}?bytes=300000"), spool=spool) == CONTENT


def test_download_of_a_dead_process_is_gone_on_with(server):
    with Spool("one") as spool:
        spool.restart(validator='"one"')
        spool.write(CONTENT[:1000])
        spool.keep()
    with Spool("one") as spool:
        assert fetch(server.url("/whole"), spool=spool) == CONTENT
    assert server.ranges() == ["bytes=1000-"]


def test_file_that_is_there_already_is_not_fetched_again(server):
    with Spool("one") as spool:
        spool.restart(validator='"one"')
        spool.write(CONTENT)
        assert fetch(server.url("/whole"), spool=spool) == CONTENT
    assert len(server.asked) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "error_type", "tries"),
    [
        (404, "url_not_found", 1),
        (410, "url_not_found", 1),
        (401, "url_refused", 1),
        (403, "url_refused", 1),
        (451, "url_refused", 1),
        (204, "url_refused", 1),
        (304, "url_refused", 1),
        (429, "url_unreachable", 5),
        (500, "url_unreachable", 5),
        (503, "url_unreachable", 5),
    ],
)
def test_answers_without_the_file_have_a_code_each(server, code, error_type, tries):
    assert refusal(server.url(f"/status?code={code}")) == (error_type, 400)
    assert len(server.asked) == tries


def test_server_that_always_breaks_at_once_is_given_up(server):
    assert refusal(server.url("/cut?bytes=0")) == ("url_unreachable", 400)


@pytest.mark.parametrize("path", ["/huge", "/endless", "/whole"])
def test_file_that_is_too_large_is_refused(server, path):
    assert refusal(server.url(path), max_bytes=len(CONTENT) - 1) == ("url_too_large", 413)


def test_file_of_the_largest_size_is_taken(server):
    with Spool("one") as spool:
        assert fetch(server.url("/whole"), spool=spool, max_bytes=len(CONTENT)) == CONTENT


@pytest.mark.parametrize("path", ["/silent", "/half"])
def test_file_that_does_not_come_in_time_is_refused(server, path):
    assert refusal(server.url(path), max_seconds=0.3) == ("url_too_slow", 400)


def test_pause_that_would_end_too_late_is_not_waited_for(server):
    assert refusal(server.url("/status?code=503"), pauses=(3600.0,) * 5) == ("url_too_slow", 400)


def test_private_address_is_refused_behind_a_name_and_a_redirect(server):
    async def dns(host):
        return ["10.0.0.1"]

    assert refusal("http://private.test/a", look_up=dns) == ("url_not_allowed", 400)
    assert refusal(server.url("/redirect?to=http://169.254.169.254/")) == ("url_not_allowed", 400)


def test_unknown_host_is_not_found():
    async def dns(host):
        return []

    assert refusal("http://nowhere.test/a", look_up=dns) == ("url_not_found", 400)


@pytest.mark.long
@pytest.mark.parametrize("path", ["/silent", "/half", "/endless", "/status?code=503"])
def test_download_stops_when_it_is_asked_to(server, path):
    stopped = threading.Event()

    def should_stop():
        was_asked = stopped.is_set()
        stopped.set()
        return was_asked

    with Spool("one") as spool, pytest.raises(Stopped):
        fetch(
            server.url(path),
            spool=spool,
            should_stop=should_stop,
            max_bytes=10**15,
            pauses=(3600.0,) * 5,
            max_seconds=10**6,
        )


def free_bytes(folder):
    return shutil.disk_usage(folder).free


@pytest.mark.parametrize("path", ["/zeros?bytes=5000000000", "/endless"])
def test_file_that_would_fill_the_disk_is_given_up_and_leaves_nothing(server, settings, tmp_path, path):
    """One says before how large it is, and the other one never ends."""
    settings.DISK_RESERVE_BYTES = free_bytes(tmp_path) - 2 * LOOK_BYTES
    with pytest.raises(VoxsiteError) as caught, Spool("one") as spool:
        fetch(server.url(path), spool=spool, max_bytes=10**10)
    assert (caught.value.type, caught.value.http_status) == ("no_room", 500)
    assert "no space" in caught.value.message
    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_resolver_that_hangs_keeps_nobody(monkeypatch):
    """The look-up runs in native code, which nothing can stop. The import ends by the clock all the same."""
    is_over = threading.Event()

    def hang(*_, **__):
        is_over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    try:
        assert refusal("http://hanging.test/", max_seconds=0.3) == ("url_too_slow", 400)
        impatient = partial(outbound.ask_resolver, seconds=0.1)
        assert refusal("http://hanging.test/", look_up=impatient) == ("url_unreachable", 400)
    finally:
        is_over.set()
    assert time.monotonic() - began < 30


def test_resolver_that_hangs_for_all_is_asked_no_more(monkeypatch):
    is_over = threading.Event()

    def hang(*_, **__):
        is_over.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    free = threading.BoundedSemaphore(1)
    ask = partial(outbound.ask_resolver, free=free)
    try:
        assert refusal("http://hanging.test/", max_seconds=0.3, look_up=ask) == ("url_too_slow", 400)
        assert refusal("http://hanging.test/", pauses=(), look_up=ask) == ("url_unreachable", 400)
    finally:
        is_over.set()
    for _ in range(500):
        if free._value:
            break
        time.sleep(0.02)
    assert refusal("http://nowhere.test/", look_up=ask) == ("url_not_found", 400)
