import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile

from accounts.errors import BadMedia, TooLarge
from tests.conftest import AUDIO
from transcription import media
from transcription.models import Media


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
    recording = media.accept(organization, upload=upload())
    assert recording.duration_ms > 1000
    assert recording.container == "wav"
    assert len(recording.sha256) == 64
    assert stored_files() == [str(recording.id)]
    with media.local_path(recording) as path:
        assert path.read_bytes() == (AUDIO / "sentence-slt.wav").read_bytes()


def test_large_upload_is_moved_and_not_copied(organization, tmp_path):
    content = (AUDIO / "sentence-slt.wav").read_bytes()
    with TemporaryUploadedFile("sentence-slt.wav", "audio/wav", len(content), None) as spooled:
        spooled.write(content)
        spooled.seek(0)
        recording = media.accept(organization, upload=spooled)
    with media.local_path(recording) as path:
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["media"]


def test_refused_upload_leaves_nothing(organization, tmp_path):
    with pytest.raises(BadMedia) as caught:
        media.accept(organization, upload=upload("song.mp3", b"This is not music. " * 200))
    assert caught.value.type == "not_audio"
    assert not Media.objects.exists()
    assert stored_files() == []
    assert list(tmp_path.glob("upload-*")) == []


def test_empty_upload_is_refused(organization):
    with pytest.raises(BadMedia) as caught:
        media.accept(organization, upload=upload(content=b""))
    assert caught.value.type == "empty_audio"


def test_too_large_upload_is_refused(organization, settings):
    settings.MAX_UPLOAD_BYTES = 100
    with pytest.raises(TooLarge):
        media.accept(organization, upload=upload())


def test_failure_after_acceptance_leaves_nothing(organization):
    with pytest.raises(RuntimeError), media.accepted(organization, upload=upload()):
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
    assert media.display_name(sent) == shown


def test_long_file_name_keeps_its_extension():
    name = media.display_name("x" * 500 + ".mp3")
    assert len(name) <= media.LONGEST_NAME
    assert name.endswith(".mp3")
