"""Files of multipart forms: stored from memory or moved from where Django spooled them; a failure leaves no trace."""

import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile

from accounts.errors import BadMedia, PaymentRequired
from tests.conftest import AUDIO
from transcription import recordings
from transcription.models import Media

pytestmark = pytest.mark.usefixtures("own_storage")


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


def test_failure_after_acceptance_leaves_nothing(organization):
    with pytest.raises(RuntimeError), recordings.accepted(organization, upload=upload()):
        raise RuntimeError
    assert not Media.objects.exists()
    assert stored_files() == []


def test_storage_that_cannot_delete_hides_no_refusal(organization, monkeypatch):
    class Denied(Exception):
        """As botocore's errors, no OSError."""

    def deny(*_):
        raise Denied

    monkeypatch.setattr(FileSystemStorage, "delete", deny)
    with pytest.raises(PaymentRequired), recordings.accepted(organization, upload=upload()):
        raise PaymentRequired("No money.")
    assert not Media.objects.exists()
