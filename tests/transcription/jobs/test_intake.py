"""While operators pause intake, every way in is shut, in each API's words."""

import pytest

from accounts import api_keys
from tests.fixtures import recordings
from transcription.jobs import intake
from transcription.models import Job, Media

SPEECH = recordings.named("sentence-slt.wav").path


@pytest.mark.parametrize(
    ("address", "field", "others"),
    [
        ("/v1/transcribe", "file", {}),
        ("/v1/upload", "file", {}),
        ("/v1/audio/transcriptions", "file", {"model": "whisper-1"}),
        ("/asr", "audio_file", {}),
    ],
)
def test_programs_are_told_to_come_back(
    client, organization, alice, django_capture_on_commit_callbacks, address, field, others
):
    _, key = api_keys.issue(organization, name="test", by=None)
    with django_capture_on_commit_callbacks(execute=True):
        intake.pause(by=alice, reason="a new disk")
    with SPEECH.open("rb") as file:
        answer = client.post(address, {field: file, **others}, headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")
    assert "try again in 60 seconds" in answer.content.decode()
    assert not Job.objects.exists()
    assert not Media.objects.exists()


def test_second_pause_changes_nothing(alice, django_capture_on_commit_callbacks):
    for reason in ("first", "second"):
        with django_capture_on_commit_callbacks(execute=True):
            intake.pause(by=alice, reason=reason)
    assert intake.current().reason == "first"
    with django_capture_on_commit_callbacks(execute=True):
        intake.resume(by=alice)
        intake.resume(by=alice)
    assert intake.current() is None
    assert not intake.is_paused()
