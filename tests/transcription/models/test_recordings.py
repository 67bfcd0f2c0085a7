"""What must never be false of recordings and uploads, whatever code writes."""

import pytest
from django.db import IntegrityError, transaction

from tests.transcription.factories import make_media
from transcription.models import Media, Upload, UploadState
from transcription.recordings import uploads


@pytest.fixture
def media(organization):
    return make_media(organization)


@pytest.fixture
def upload(organization):
    return uploads.begin(organization, name="call.wav", declared_bytes=7)


def write(row, **fields):
    """Write past the verbs."""
    with transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(**fields)


@pytest.mark.parametrize(
    ("fields", "constraint"), [({"duration_ms": 0}, "media_has_duration"), ({"channels": 0}, "media_has_a_channel")]
)
def test_recording_that_would_cost_nothing_is_refused_by_the_database(media, fields, constraint):
    with pytest.raises(IntegrityError, match=constraint):
        write(media, **fields)


def test_bytes_belong_to_one_recording_and_one_upload(organization, media, upload):
    with pytest.raises(IntegrityError):
        write(make_media(organization), storage_key=media.storage_key)
    with pytest.raises(IntegrityError):
        write(uploads.begin(organization, name="b", declared_bytes=7), storage_key=upload.storage_key)


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"state": "lost"}, "upload_state_is_known"),
        ({"declared_bytes": 0}, "upload_declares_bytes"),
        ({"state": UploadState.ACCEPTED}, "accepted_upload_has_media"),
        ({"multipart_id": "one"}, "upload_in_parts_has_sizes"),
        ({"multipart_id": "one", "part_bytes": 0}, "upload_in_parts_has_sizes"),
        ({"multipart_id": "one", "part_bytes": 5, "declared_bytes": None}, "upload_in_parts_has_sizes"),
    ],
)
def test_upload_that_contradicts_itself_is_refused_by_the_database(upload, fields, constraint):
    with pytest.raises(IntegrityError, match=constraint):
        write(upload, **fields)


@pytest.mark.parametrize("state", UploadState)
def test_only_an_accepted_upload_has_a_recording(upload, media, state):
    if state == UploadState.ACCEPTED:
        write(upload, state=state, media=media)
    else:
        write(upload, state=state)
        with pytest.raises(IntegrityError, match="accepted_upload_has_media"):
            write(upload, media=media)


@pytest.mark.parametrize("state", UploadState)
def test_upload_has_its_bytes_once_they_came(state):
    came = {UploadState.RECEIVED, UploadState.ACCEPTED, UploadState.REFUSED}
    assert Upload(state=state).has_its_bytes is (state in came)


def test_rows_are_reached_by_their_organization(organization, charlies, media, upload):
    assert (list(Media.objects.of(organization)), list(Upload.objects.of(organization))) == ([media], [upload])
    assert (list(Media.objects.of(charlies)), list(Upload.objects.of(charlies))) == ([], [])
