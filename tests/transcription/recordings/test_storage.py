"""What may be stored, and who may read it on disk."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.errors import BadMedia, TooLarge
from tests.conftest import AUDIO
from transcription import recordings

pytestmark = pytest.mark.usefixtures("own_storage")


def upload(name="sentence-slt.wav", content=None):
    return SimpleUploadedFile(name, (AUDIO / "sentence-slt.wav").read_bytes() if content is None else content)


def test_recordings_are_private_on_disk(organization):
    recording = recordings.accept(organization, upload=upload())
    with recordings.local_path(recording) as path:
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0


def test_empty_upload_is_refused(organization):
    with pytest.raises(BadMedia) as caught:
        recordings.accept(organization, upload=upload(content=b""))
    assert caught.value.type == "empty_audio"


def test_too_large_upload_is_refused(organization, settings):
    settings.MAX_UPLOAD_BYTES = 100
    with pytest.raises(TooLarge):
        recordings.accept(organization, upload=upload())
