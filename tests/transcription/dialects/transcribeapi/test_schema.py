"""The description of TranscribeAPI's addresses against what they take and answer: the same fields, all of them."""

import json

import pytest
from django.utils import timezone

from accounts.errors import VoxsiteError
from accounts.gate.views import data_fields
from billing.added_funds import Outcome
from tests.transcription.dialects.native.test_schema import described
from tests.transcription.dialects.transcribeapi.test_answers import show
from tests.transcription.dialects.transcribeapi.test_results import batch, finish
from transcription.dialects.transcribeapi import creation, errors, funds, results, schema, wire


def test_form_has_the_fields_that_are_taken():
    assert set(described(schema.FormRequest)) == set(wire.FIELDS)


def test_answer_has_the_described_fields():
    assert set(show(reference="r")) == set(described(schema.Transcription)) - {"notes"}
    assert set(show()["segments"][0]) == set(described(schema.Transcription)["segments"])


def test_error_has_the_described_fields():
    shown = errors.show_error(VoxsiteError(), request_id="req_1")
    added = {
        "status",
        "job_status",
        "plan",
        "max_requests",
        "max_bytes",
        "max_files",
        "max_duration_seconds",
        "duration_seconds",
    }
    assert shown.keys() == described(schema.ERROR).keys() - data_fields().keys() - added


@pytest.mark.django_db(transaction=True)
def test_job_and_batch_have_the_described_fields(organization):
    job = finish(batch(organization), failing={1})
    shown = results.show_job(job, site_url="https://a.example", now=timezone.now())
    assert shown.keys() == described(schema.Job).keys()
    document = json.loads(b"".join(results.batch_document(job)))
    assert document.keys() == described(schema.BatchResult).keys()
    seen = {field for file in document["files"] for field in file}
    assert seen == described(schema.BatchResult)["files"].keys()
    created = creation.show_created(job, has_all_uploads=True)
    assert created.keys() == described(schema.Created).keys() - {"uploads", "reference_id", "upload"}


def test_added_funds_have_the_described_fields():
    outcome = Outcome("pending", 1_000, 0, was_charged_before=True, available_micros=0)
    assert funds.show(outcome).keys() == described(schema.AddedFunds).keys()
