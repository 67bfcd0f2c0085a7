"""Playback of recordings, also from storages that know no local paths."""

import psutil
import pytest
from asgiref.sync import async_to_sync
from django.core.files.storage import InMemoryStorage, default_storage
from django.test import AsyncClient

from tests.transcription.factories import make_media, make_submission
from transcription import jobs
from transcription.pages import playback
from transcription.recordings import uploads

CONTENT = bytes(range(256)) * 20_000


class CountingStorage(InMemoryStorage):
    """Object storage that counts what is read of it."""

    read_bytes = 0

    def read_range(self, name, *, first_byte, count):
        with super().open(name, "rb") as file:
            file.seek(first_byte)
            part = file.read(count)
        self.read_bytes += len(part)
        return part

    def open(self, name, mode="rb"):
        raise AssertionError("opening an object fetches all of it")


@pytest.fixture
def storage(settings):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "tests.transcription.pages.test_playback.CountingStorage"},
    }
    return default_storage


@pytest.fixture
def address(storage, organization):
    media = make_media(organization, content=CONTENT)
    job = jobs.submit(make_submission(organization, dialect="pages"), media=media)
    return f"/o/{organization.pk}/transcripts/{job.pk}/audio/"


def test_only_the_part_that_is_asked_for_is_read(alice, client_of, address, storage):
    response = client_of(alice).get(address, headers={"Range": "bytes=1000-1999"})
    assert (response.status_code, response.content) == (206, CONTENT[1000:2000])
    assert storage.read_bytes == 1000
    client_of(alice).get(address, headers={"Range": "bytes=0-"})
    assert storage.read_bytes == 1000 + playback.PART_BYTES


def test_whole_recording_is_read_once_and_in_parts(alice, address, storage):
    async def fetch():
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.get(address)
        return [part async for part in response]

    parts = async_to_sync(fetch)()
    assert b"".join(parts) == CONTENT
    assert max(map(len, parts)) == playback.PART_BYTES
    assert storage.read_bytes == len(CONTENT)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}])
def test_lost_recording_is_not_found(alice, client_of, address, storage, headers):
    for folder in storage.listdir("media")[0]:
        for name in storage.listdir(f"media/{folder}")[1]:
            storage.delete(f"media/{folder}/{name}")
    assert client_of(alice).get(address, headers=headers).status_code == 404


def test_recording_that_has_not_come_is_not_found(organization, alice, client_of):
    upload = uploads.begin(organization, name="call.wav", declared_bytes=1)
    job = jobs.submit_uploads(make_submission(organization, dialect="pages"), uploads=[upload], name="call")
    assert client_of(alice).get(f"/transcripts/{job.pk}/audio/").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        ("bytes=0-", 206, b"sound", "bytes 0-4/5"),
        ("bytes=1-2", 206, b"ou", "bytes 1-2/5"),
        ("bytes=-2", 206, b"nd", "bytes 3-4/5"),
        ("bytes=2-99", 206, b"und", "bytes 2-4/5"),
        ("bytes=5-", 416, b"", "bytes */5"),
        ("bytes=3-1", 416, b"", "bytes */5"),
    ],
)
def test_player_gets_the_part_that_it_asks_for(alice, job, client_of, asked, status, content, content_range):
    response = client_of(alice).get(f"/transcripts/{job.pk}/audio/", headers={"Range": asked})
    assert response.status_code == status
    assert response.content == content
    assert response["Content-Range"] == content_range


# A number of thousands of digits would be an error to int().
@pytest.mark.parametrize("headers", [{}, {"Range": f"bytes={'9' * 5000}-"}], ids=["no range", "impossible range"])
def test_recording_is_played_whole_and_never_as_a_page(alice, job, headers):
    async def fetch():
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.get(f"/o/{job.organization_id}/transcripts/{job.pk}/audio/", headers=headers)
        return response, b"".join([part async for part in response])

    response, content = async_to_sync(fetch)()
    assert content == b"sound"
    assert response["Content-Type"] == "audio/wav"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_recording_is_not_open_while_nobody_listens(alice, job):
    """A client that leaves before the first byte must not leave a file open."""

    def is_open() -> bool:
        return any(job.items.get().media.storage_key in file.path for file in psutil.Process().open_files())

    async def fetch():
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        return await client.get(f"/o/{job.organization_id}/transcripts/{job.pk}/audio/")

    response = async_to_sync(fetch)()
    assert not is_open()
    response.close()
