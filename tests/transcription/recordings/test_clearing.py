"""Files of a whole organization go, those of others stay. More is in tests/accounts/test_closures.py."""

import time

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from tests.transcription.factories import make_media
from transcription.models import Media, Upload, UploadState
from transcription.recordings import clearing, imports, uploads


def later():
    return time.monotonic() + 60


@pytest.mark.django_db(transaction=True)
def test_files_that_no_row_knows_go_too(organization, charlies):
    for owner in (organization, charlies):
        make_media(owner)
        for top in ("media", "results", "incoming"):
            default_storage.save(f"{top}/{owner.pk}/stray", ContentFile(b"x"))
    assert clearing.delete_all(organization, ends_at=later())
    for top in ("media", "results", "incoming"):
        assert not default_storage.exists(f"{top}/{organization.pk}")
        assert default_storage.exists(f"{top}/{charlies.pk}/stray")
    assert default_storage.exists(Media.objects.get(organization=charlies).storage_key)


def test_only_what_has_not_come_ends(organization, charlies, tmp_path):
    (tmp_path / "a").write_bytes(b"123456789")
    waiting, received = (uploads.begin(organization, name="a", declared_bytes=9) for _ in range(2))
    uploads.receive(received, path=tmp_path / "a")
    imports.begin(organization, url="https://example.com/a.wav", is_for_later=True)
    others = uploads.begin(charlies, name="a", declared_bytes=9)
    clearing.end_waiting(organization, ends_at=later())
    states = dict(Upload.objects.values_list("pk", "state"))
    assert (states[waiting.pk], states[received.pk]) == (UploadState.EXPIRED, UploadState.RECEIVED)
    assert states[others.pk] == UploadState.WAITING
    assert default_storage.exists(received.storage_key)


def test_time_that_is_over_leaves_the_rest(organization):
    for _ in range(3):
        make_media(organization)
    for left in (2, 1, 0):
        assert not clearing.delete_all(organization, ends_at=time.monotonic(), batch_size=1)
        assert Media.objects.count() == left
    assert clearing.delete_all(organization, ends_at=time.monotonic())
