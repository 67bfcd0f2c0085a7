from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.utils import timezone

from accounts.errors import BadMedia, PaymentRequired, TooLarge
from tests.conftest import AUDIO
from tests.transcription.factories import make_job, make_media, make_transcript
from transcription import jobs, recordings
from transcription.models import Job, Media
from transcription.recordings import names


def upload(name="sentence-slt.wav", content=None):
    return SimpleUploadedFile(name, (AUDIO / "sentence-slt.wav").read_bytes() if content is None else content)


def stored_files():
    try:
        return [
            name
            for folder in default_storage.listdir("media")[0]
            for name in default_storage.listdir(f"media/{folder}")[1]
        ]
    except FileNotFoundError:
        return []


@pytest.fixture(autouse=True)
def own_storage(tmp_path, settings):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media"), "allow_overwrite": True},
        },
    }
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


def test_accepted_recording_is_probed_and_stored(organization):
    recording = recordings.accept(organization, upload=upload())
    assert recording.duration_ms > 1000
    assert recording.container == "wav"
    assert len(recording.sha256) == 64
    assert stored_files() == [str(recording.id)]
    with recordings.local_path(recording) as path:
        assert path.read_bytes() == (AUDIO / "sentence-slt.wav").read_bytes()


def test_large_upload_is_moved_and_not_copied(organization, tmp_path):
    content = (AUDIO / "sentence-slt.wav").read_bytes()
    with TemporaryUploadedFile("sentence-slt.wav", "audio/wav", len(content), None) as spooled:
        spooled.write(content)
        spooled.seek(0)
        recording = recordings.accept(organization, upload=spooled)
    with recordings.local_path(recording) as path:
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["media"]


def test_refused_upload_leaves_nothing(organization, tmp_path):
    with pytest.raises(BadMedia) as caught:
        recordings.accept(organization, upload=upload("song.mp3", b"This is not music. " * 200))
    assert caught.value.type == "not_audio"
    assert not Media.objects.exists()
    assert stored_files() == []
    assert list(tmp_path.glob("upload-*")) == []


def test_empty_upload_is_refused(organization):
    with pytest.raises(BadMedia) as caught:
        recordings.accept(organization, upload=upload(content=b""))
    assert caught.value.type == "empty_audio"


def test_too_large_upload_is_refused(organization, settings):
    settings.MAX_UPLOAD_BYTES = 100
    with pytest.raises(TooLarge):
        recordings.accept(organization, upload=upload())


def test_failure_after_acceptance_leaves_nothing(organization):
    with pytest.raises(RuntimeError), recordings.accepted(organization, upload=upload()):
        raise RuntimeError
    assert not Media.objects.exists()
    assert stored_files() == []


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("meeting.mp3", "meeting.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\talk.wav", "talk.wav"),
        ("/abs/olute.wav", "olute.wav"),
        ("..", "recording"),
        ("", "recording"),
        ("a\x00b\nc.wav", "abc.wav"),
        ("\u202e3pm.exe", "3pm.exe"),
        ("cafe\u0301.wav", "caf\u00e9.wav"),
        ("zero\u200bwidth.wav", "zerowidth.wav"),
        ("two\u2028lines.wav", "two lines.wav"),
        ("<script>alert(1)</script>.wav", "script>.wav"),
    ],
)
def test_file_names_are_made_safe_to_show(sent, shown):
    assert recordings.display_name(sent) == shown


def test_long_file_name_keeps_its_extension():
    name = recordings.display_name("x" * 500 + ".mp3")
    assert len(name) <= names.MAX_NAME_LENGTH
    assert name.endswith(".mp3")


def test_sweep_removes_what_no_row_and_no_job_knows(organization):
    now = timezone.now()
    orphan = make_media(organization)
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    used = job.items.get()
    default_storage.save(f"media/{organization.pk}/stray", ContentFile(b"x"))
    default_storage.save(f"results/{organization.pk}/{job.pk}/stray.json", ContentFile(b"{}"))
    assert recordings.sweep(now=now) == 0
    assert recordings.sweep(now=now + timedelta(hours=7)) == 3
    assert not Media.objects.filter(pk=orphan.pk).exists()
    assert stored_files() == [str(used.media_id)]
    assert default_storage.exists(used.result_key)
    assert jobs.transcript_of(Job.objects.get()).text == "hello"


def test_storage_that_cannot_delete_hides_no_refusal(organization, monkeypatch):
    class Denied(Exception):
        """As botocore's errors, no OSError."""

    def deny(*_):
        raise Denied

    monkeypatch.setattr(FileSystemStorage, "delete", deny)
    with pytest.raises(PaymentRequired), recordings.accepted(organization, upload=upload()):
        raise PaymentRequired("No money.")
    assert not Media.objects.exists()


def test_recordings_are_private_on_disk(organization):
    recording = recordings.accept(organization, upload=upload())
    with recordings.local_path(recording) as path:
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
