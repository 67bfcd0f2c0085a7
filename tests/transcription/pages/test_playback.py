"""Playback from storages that know no local paths; what a player sees is in test_pages."""

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
    return f"/transcripts/{job.pk}/audio/"


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
