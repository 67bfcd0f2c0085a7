"""What must never be false of corrections, whatever code writes."""

import pytest
from django.db import IntegrityError, transaction

from tests.transcription.factories import make_job
from transcription.models import JobItem, SegmentRevision, SpeakerName


@pytest.fixture
def item(organization) -> JobItem:
    return make_job(organization).items.get()


def test_number_of_a_revision_is_given_once(item):
    SegmentRevision.objects.create(item=item, segment=0, number=1)
    SegmentRevision.objects.create(item=item, segment=1, number=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        SegmentRevision.objects.create(item=item, segment=0, number=1)
    with pytest.raises(IntegrityError, match="revisions_count_from_one"):
        SegmentRevision.objects.create(item=item, segment=0, number=0)


def test_speaker_has_one_name_and_is_not_merged_into_itself(item):
    SpeakerName.objects.create(item=item, speaker="S1", name="Anna")
    with pytest.raises(IntegrityError), transaction.atomic():
        SpeakerName.objects.create(item=item, speaker="S1", name="Bert")
    with pytest.raises(IntegrityError, match="speaker_is_not_merged_into_itself"):
        SpeakerName.objects.create(item=item, speaker="S2", merged_into="S2")
