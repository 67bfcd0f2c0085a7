"""An upload exists before its bytes: what may come, when, how often, and what becomes of it."""

import uuid
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
from transcription.recordings import expiry, incoming, incoming_parts, storage, uploads

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


@pytest.fixture(autouse=True)
def own_incoming(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"
    return settings.INCOMING_DIR


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
    assert expiry.expire(now=later) == 2
    assert expiry.expire(now=later) == 0
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


def test_size_that_nobody_told_is_the_one_that_came(organization, sent):
    upload = begin(organization, declared_bytes=None)
    uploads.receive(upload, path=sent)
    assert upload.declared_bytes == len(content())


@pytest.mark.parametrize("size", [0, 101])
def test_size_that_nobody_told_has_limits_too(organization, settings, tmp_path, size):
    settings.MAX_SIGNED_UPLOAD_BYTES = 100
    path = tmp_path / "received"
    path.write_bytes(bytes(size))
    with pytest.raises(BadRequest) as caught:
        uploads.receive(begin(organization, declared_bytes=None), path=path)
    assert caught.value.type == "upload_size_mismatch"


@pytest.mark.parametrize("declared_type", ["audio/wav\r\nX-Evil: 1", "audio/ü", "a" * 101, "\x00"])
def test_type_that_no_header_can_carry_is_dropped(organization, declared_type):
    assert begin(organization, declared_type=declared_type).declared_type == ""


def test_customer_may_say_more_than_once_that_the_bytes_have_come(organization):
    upload = begin(organization)
    assert uploads.announce_received(upload) is False
    default_storage.save(upload.storage_key, ContentFile(content()))
    assert uploads.announce_received(upload) is True
    assert uploads.announce_received(Upload.objects.get(pk=upload.pk)) is True
    assert upload.state == UploadState.RECEIVED


def test_bytes_of_another_size_are_not_taken_at_the_customers_word(organization):
    upload = begin(organization)
    default_storage.save(upload.storage_key, ContentFile(content() + b"more"))
    with pytest.raises(BadRequest) as caught:
        uploads.announce_received(upload)
    assert caught.value.type == "upload_size_mismatch"


def test_bytes_of_another_etag_are_no_repeat(organization, sent):
    upload = begin(organization)
    assert not uploads.is_repeat(upload, etag="")
    uploads.receive(upload, path=sent, etag="abc")
    assert uploads.is_repeat(upload, etag="abc")
    assert not uploads.is_repeat(upload, etag="abd")
    unhashed = begin(organization)
    uploads.receive(unhashed, path=sent)
    assert not uploads.is_repeat(unhashed, etag="")


@pytest.mark.usefixtures("empty_storage")
def test_recording_has_a_key_that_no_customer_has_an_address_for(organization):
    """Otherwise the customer could replace it after it was priced."""
    upload = begin(organization)
    address = upload.storage_key
    default_storage.save(address, ContentFile(content()))
    uploads.confirm(upload)
    media = uploads.verify(upload)
    assert media.storage_key != address
    assert not default_storage.exists(address)
    default_storage.save(address, ContentFile(b"another recording"))
    with recordings.local_path(media) as path:
        assert path.read_bytes() == content()


@pytest.mark.usefixtures("empty_storage")
def test_verifier_that_is_late_leaves_no_second_copy(organization, monkeypatch):
    upload = begin(organization)
    default_storage.save(upload.storage_key, ContentFile(content()))
    uploads.confirm(upload)
    twin = Upload.objects.get(pk=upload.pk)
    copy_file = storage.copy_file

    def slow(storage_key, *, new_storage_key):
        copy_file(storage_key, new_storage_key=new_storage_key)
        monkeypatch.undo()
        uploads.verify(twin)

    monkeypatch.setattr(storage, "copy_file", slow)
    assert uploads.verify(upload) == twin.media
    assert len(bytes_in_storage()) == 1


@pytest.mark.parametrize("keeps_file", [False, True])
@pytest.mark.usefixtures("empty_storage")
def test_recording_whose_upload_is_deleted_while_it_is_probed_is_not_kept(organization, sent, monkeypatch, keeps_file):
    """keeps_file: whether its deletion removes the bytes only after the probe."""
    upload = begin(organization)
    uploads.receive(upload, path=sent)
    accept_stored = storage.accept_stored

    def slow(*args, **kwargs):
        Upload.objects.all().delete()
        if not keeps_file:
            storage.remove_file(upload.storage_key)
        return accept_stored(*args, **kwargs)

    monkeypatch.setattr(storage, "accept_stored", slow)
    with pytest.raises(Conflict) as caught:
        uploads.verify(upload)
    assert caught.value.type == "upload_expired"
    assert (Media.objects.exists(), bytes_in_storage()) == (False, [])


@pytest.mark.parametrize(
    "act",
    [uploads.require_waiting, uploads.confirm, uploads.announce_received, uploads.verify],
    ids=lambda act: act.__name__,
)
def test_upload_that_was_deleted_has_expired(organization, act):
    upload = begin(organization)
    Upload.objects.all().delete()
    with pytest.raises(Conflict) as caught:
        act(upload)
    assert caught.value.type == "upload_expired"


def part_that_came(upload):
    Upload.objects.filter(pk=upload.pk).update(multipart_id="one", part_bytes=5)
    incoming_parts.begin_parts(upload.pk, multipart_id="one")
    with incoming_parts.part(upload.pk, multipart_id="one", number=1, part_bytes=5) as part:
        part.write([b"12345"])
        part.keep()


def test_parts_of_an_upload_that_expires_are_removed(organization, own_incoming):
    upload = begin(organization)
    part_that_came(upload)
    assert expiry.expire(now=timezone.now() + timedelta(hours=25)) == 1
    assert list(own_incoming.iterdir()) == []


def test_what_killed_processes_left_is_purged_after_a_day(organization, own_incoming):
    waiting, ended, killed = (begin(organization, lifetime=timedelta(days=7)) for _ in range(3))
    for upload in (waiting, ended):
        part_that_came(upload)
    Upload.objects.filter(pk=ended.pk).update(state=UploadState.EXPIRED)
    incoming.whole(killed.pk).write([b"cut off by kill -9"])
    incoming.whole(uuid.uuid4()).write([b"of an upload that was deleted"])
    now = timezone.now()
    assert uploads.purge_incoming(now=now + timedelta(hours=23)) == 0
    assert uploads.purge_incoming(now=now + timedelta(hours=25)) == 3
    assert [folder.name for folder in own_incoming.iterdir()] == [f"{waiting.pk}.one"]
    assert (own_incoming / f"{waiting.pk}.one" / "1.part").exists()


def test_announcement_is_completed_while_the_bytes_are_waited_for(organization):
    upload = uploads.begin(organization, name="file_000001", declared_bytes=None)
    uploads.describe(upload, name="talk.mp3", declared_bytes=5, declared_type="audio/mpeg")
    upload.refresh_from_db()
    assert (upload.name, upload.declared_bytes, upload.declared_type) == ("talk.mp3", 5, "audio/mpeg")
    uploads.describe(upload, declared_bytes=7)
    upload.refresh_from_db()
    assert (upload.name, upload.declared_bytes) == ("talk.mp3", 5)


@pytest.mark.parametrize("declared_bytes", [0, -1, 10**12])
def test_announcement_is_not_completed_with_an_impossible_size(organization, declared_bytes):
    upload = uploads.begin(organization, name="talk.mp3", declared_bytes=None)
    with pytest.raises((InvalidField, TooLarge)):
        uploads.describe(upload, declared_bytes=declared_bytes)
