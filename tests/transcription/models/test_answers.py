"""What must never be false of an answer, whatever code writes."""

import uuid

import pytest
from django.db import IntegrityError, transaction

from tests.transcription.factories import make_job
from transcription.models import Answer


@pytest.fixture
def job(organization):
    return make_job(organization)


def test_form_that_is_sent_twice_has_one_answer(organization, job):
    token = uuid.uuid4()
    Answer.objects.create(job=job, token=token, charged_micros=0)
    with pytest.raises(IntegrityError), transaction.atomic():
        Answer.objects.create(job=job, token=token, charged_micros=0)
    Answer.objects.create(job=make_job(organization), token=token, charged_micros=0)


def test_answer_costs_nothing_or_more(job):
    with pytest.raises(IntegrityError, match="answer_costs_nothing_or_more"):
        Answer.objects.create(job=job, token=uuid.uuid4(), charged_micros=-1)


def test_answers_are_in_the_order_of_the_questions_and_go_with_their_job(job):
    made = [Answer.objects.create(job=job, token=uuid.uuid4(), charged_micros=1) for _ in range(3)]
    assert list(job.answers.all()) == made
    job.delete()
    assert not Answer.objects.exists()
