"""An upload exists before its bytes: what may come, when, how often, and what becomes of it."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.utils import timezone

from accounts.errors import BadMedia, BadRequest, Conflict, InvalidField, TooLarge
from tests.fixtures import recordings as samples
from tests.transcription.factories import make_submission
from transcription import recordings, submissions
from transcription.models import Media, Upload, UploadState
from transcription.recordings import storage, uploads

SENTENCE = samples.named("sentence-slt.wav")


def content():
    return SENTENCE.path.read_bytes()


@pytest.fixture
def sent(tmp_path):
    """The file as a signed endpoint has received it."""
    path = tmp_path / "received"
    path.write_bytes(content())
    return path


def begin(organization, **fields):
    return uploads.begin(organization, **{"name": "call.wav", "declared_bytes": len(content()), **fields})


def bytes_in_storage():
    return [path for path in storage.Path(default_storage.path("media")).rglob("*") if path.is_file()]


@pytest.fixture
def empty_storage(settings, tmp_path):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "storage")},
        },
    }
    (tmp_path / "storage" / "media").mkdir(parents=True)
    (tmp_path / "storage" / "results").mkdir()


def test_upload_becomes_a_recording(organization, sent):
    upload = begin(organization)
    assert upload.state == UploadState.WAITING
    uploads.receive(upload, path=sent)
    media = uploads.verify(upload)
    assert (media.organization, media.name, media.duration_ms) == (organization, "call.wav", SENTENCE.duration_ms)
    with recordings.local_path(media) as path:
        assert path.read_bytes() == content()
    assert upload.state == UploadState.ACCEPTED


def test_file_may_be_moved_into_storage(organization, sent):
    upload = begin(organization)
    uploads.receive(upload, path=sent, may_move=True)
    assert not sent.exists()
    assert default_storage.size(upload.storage_key) == len(content())


def test_bytes_that_the_customer_put_into_storage_are_confirmed(organization):
    upload = begin(organization)
    default_storage.save(upload.storage_key, ContentFile(content()))
    uploads.confirm(upload)
    assert uploads.verify(upload).size_bytes == len(content())


def test_missing_bytes_are_not_confirmed(organization):
    with pytest.raises(BadRequest) as caught:
        uploads.confirm(begin(organization))
    assert caught.value.type == "upload_not_received"


@pytest.mark.usefixtures("empty_storage")
@pytest.mark.parametrize("difference", [-1, 1])
def test_other_size_than_declared_is_refused_and_may_be_sent_again(organization, sent, difference):
    upload = begin(organization, declared_bytes=len(content()) + difference)
    with pytest.raises(BadRequest) as caught:
        uploads.receive(upload, path=sent)
    assert caught.value.type == "upload_size_mismatch"
    upload.refresh_from_db()
    assert upload.state == UploadState.WAITING
    assert bytes_in_storage() == []


@pytest.mark.parametrize("declared_bytes", [0, -5])
def test_size_must_be_declared(organization, declared_bytes):
    with pytest.raises(InvalidField):
        begin(organization, declared_bytes=declared_bytes)


def test_more_than_the_limit_is_refused_before_a_byte_comes(organization, settings):
    with pytest.raises(TooLarge):
        begin(organization, declared_bytes=settings.MAX_SIGNED_UPLOAD_BYTES + 1)
    assert not Upload.objects.exists()


@pytest.mark.usefixtures("empty_storage")
def test_second_receiver_changes_nothing(organization, sent):
    upload = begin(organization)
    twin = Upload.objects.get(pk=upload.pk)
    uploads.receive(upload, path=sent)
    with pytest.raises(Conflict) as caught:
        uploads.receive(twin, path=sent)
    assert caught.value.type == "upload_already_received"
    assert len(bytes_in_storage()) == 1


class SlowStorage(FileSystemStorage):
    """While it stores a file, another receiver of the same upload ends first."""

    def _save(self, name, content):
        stored = super()._save(name, content)
        Upload.objects.update(state=UploadState.RECEIVED)
        return stored


@pytest.mark.usefixtures("empty_storage")
def test_receiver_that_loses_the_race_removes_its_bytes_and_no_others(organization, sent, settings):
    default = {**settings.STORAGES["default"], "BACKEND": f"{__name__}.{SlowStorage.__name__}"}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    upload = begin(organization)
    with pytest.raises(Conflict) as caught:
        uploads.receive(upload, path=sent)
    assert caught.value.type == "upload_already_received"
    assert bytes_in_storage() == []


def test_late_bytes_are_refused(organization, sent):
    upload = begin(organization, lifetime=timedelta(seconds=-1))
    with pytest.raises(Conflict) as caught:
        uploads.receive(upload, path=sent)
    assert caught.value.type == "upload_expired"


def test_clock_ends_uploads_that_never_came_or_that_no_job_asked_for(organization, sent):
    late, unused, used = begin(organization), begin(organization), begin(organization)
    for upload in (unused, used):
        uploads.receive(upload, path=sent)
    submissions.submit_upload(make_submission(organization), upload=used)
    later = timezone.now() + timedelta(hours=25)
    assert uploads.expire(now=later) == 2
    assert uploads.expire(now=later) == 0
    for upload in (late, unused, used):
        upload.refresh_from_db()
    assert (late.state, unused.state, used.state) == (UploadState.EXPIRED, UploadState.EXPIRED, UploadState.RECEIVED)
    assert not default_storage.exists(unused.storage_key)
    assert default_storage.exists(used.storage_key)


@pytest.mark.usefixtures("empty_storage")
def test_file_that_is_no_recording_is_refused_with_its_reason(organization, tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(b"This is not music. " * 200)
    upload = begin(organization, declared_bytes=path.stat().st_size)
    uploads.receive(upload, path=path)
    for _ in range(2):
        with pytest.raises(BadMedia) as caught:
            uploads.verify(upload)
        assert caught.value.type == "not_audio"
    assert upload.state == UploadState.REFUSED
    assert bytes_in_storage() == []
    assert not Media.objects.exists()


def test_upload_without_bytes_is_not_verified(organization):
    with pytest.raises(Conflict):
        uploads.verify(begin(organization))


def test_verifying_twice_gives_the_same_recording(organization, sent):
    upload = begin(organization)
    uploads.receive(upload, path=sent)
    twin = Upload.objects.get(pk=upload.pk)
    assert uploads.verify(upload) == uploads.verify(twin)
    assert Media.objects.count() == 1


def test_verifier_that_finds_the_recording_made_meanwhile_takes_it(organization, sent):
    upload = begin(organization)
    uploads.receive(upload, path=sent)
    made = storage.accept_stored(organization, storage_key=upload.storage_key, name=upload.name)
    assert uploads.verify(upload) == made


def test_uploads_are_reached_by_their_organization(organization, charlies):
    upload = begin(organization)
    assert list(Upload.objects.of(organization)) == [upload]
    assert list(Upload.objects.of(charlies)) == []
