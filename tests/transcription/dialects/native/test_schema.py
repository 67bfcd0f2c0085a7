"""The description of the native API against what `wire` takes and answers: the same fields, all of them."""

import pytest
from django.utils import timezone
from rest_framework import serializers

from tests.transcription.factories import make_job, make_media, make_transcript
from transcription import jobs
from transcription.dialects.native import answers, schema
from transcription.models import Delivery, DeliveryState, Status
from transcription.speech.capabilities import ModelCapabilities

OFFERS = {"standard": ModelCapabilities(engine="test", languages=frozenset({"en"}), translates=True)}


@pytest.fixture
def completed(organization):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("hello there"))
    job.refresh_from_db()
    return job


def described(serializer):
    """Return the fields of a serializer as a tree: name -> tree of an object or of the objects of a list."""
    if isinstance(serializer, serializers.ListSerializer):
        serializer = serializer.child
    if not isinstance(serializer, serializers.Serializer):
        return None
    return {name: described(field) for name, field in serializer.fields.items()}


def answered(value):
    """Return the fields of an answer as such a tree. Of a list the first object counts.

    The names in `metadata` are the customer's.
    """
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    return {name: None if name == "metadata" else answered(inner) for name, inner in value.items()}


def test_answer_to_a_submission_has_the_described_fields(completed):
    assert answered(answers.show_created(completed)) == described(schema.Created)


def test_stored_file_has_the_described_fields(organization):
    media = make_media(organization)
    media.orderable_until = timezone.now()
    assert answered(answers.show_file(media)) == described(schema.StoredFile)


def test_status_has_the_described_fields(completed):
    completed.error_type, completed.error_message = "not_audio", "No audio."
    shown = answers.show_status(completed, transcript=jobs.transcript_of(completed))
    assert answered(shown) == described(schema.JobStatus)
    assert set(schema.JobStatus.fields["status"].choices) == set(schema.JobLine.fields["status"].choices)


def test_job_has_the_described_fields(completed):
    assert answered(answers.show_job_line(completed)) == described(schema.JobLine)
    completed.error_type, completed.error_message = "not_audio", "No audio."
    completed.webhook_url = "https://example.com/hook"
    delivery = Delivery(job=completed, event="job.completed")
    shown = {**answers.show_job(completed), **answers.show_delivery(completed, delivery)}
    # `message` is of queued jobs alone, while they wait for the engine's model.
    assert answered(shown) | {"message": None} == described(schema.JobDetail)
    assert set(schema.JobDetail.fields["webhook"].fields["status"].choices) == set(DeliveryState)


def test_job_that_waits_for_the_model_has_the_described_fields(organization):
    waiting = answers.show_job(make_job(organization), waits_for="The model is being downloaded.")
    assert waiting["message"] == "The model is being downloaded."
    assert answered(waiting).keys() == (described(schema.JobDetail).keys() - {"result_url", "webhook"})


def test_status_is_one_of_the_described_words():
    assert set(schema.JobLine.fields["status"].choices) == {answers.STATUS_WORDS[status] for status in Status}


def test_result_has_the_described_fields(completed):
    result = answers.show_result(jobs.transcript_of(completed), job=completed)
    assert answered(result) == described(schema.Result)


def test_lists_of_models_and_languages_have_the_described_fields():
    models = answers.show_models(OFFERS, rates_micros={"standard": 1}, diarizer="test")
    assert answered(models) == described(schema.ModelList)
    assert answered(answers.show_languages(OFFERS, names={"en": "English"})) == described(schema.LanguageList)
