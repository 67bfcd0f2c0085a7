"""What must never be false of tags, whatever code writes."""

import pytest
from django.db import IntegrityError, transaction

from tests.transcription.factories import make_job
from transcription.models import JobTag


def test_job_has_a_tag_once_and_a_tag_has_a_name(organization):
    job = make_job(organization)
    JobTag.objects.create(job=job, organization=organization, name="legal")
    with pytest.raises(IntegrityError), transaction.atomic():
        JobTag.objects.create(job=job, organization=organization, name="legal")
    with pytest.raises(IntegrityError, match="job_tag_has_a_name"):
        JobTag.objects.create(job=job, organization=organization, name="")
