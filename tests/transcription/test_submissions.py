import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.fixtures import recordings as samples
from tests.transcription.factories import make_media, make_submission
from transcription import submissions
from transcription.models import Priority


@pytest.mark.parametrize(("given", "used"), [(None, Priority.BULK), (Priority.INTERACTIVE, Priority.INTERACTIVE)])
def test_batch_waits_behind_single_recordings_unless_told_otherwise(organization, given, used):
    job = submissions.submit_batch(
        make_submission(organization, priority=given), recordings=[make_media(organization)], name="calls"
    )
    assert job.priority == used


def test_form_file_waits_as_a_single_recording(organization):
    sentence = samples.named("sentence-slt.wav").path
    upload = SimpleUploadedFile("call.wav", sentence.read_bytes())
    assert submissions.submit_file(make_submission(organization), upload=upload).priority == Priority.STANDARD


def test_batch_is_one_job_of_its_organization(organization):
    media = [make_media(organization), make_media(organization)]
    job = submissions.submit_batch(make_submission(organization), recordings=media, name="calls")
    assert (job.organization, job.name, job.item_count) == (organization, "calls", 2)
