"""`POST /v1/estimate`: works, no key, stranger, no money, bad input."""

import json
import uuid

import pytest
from django.test import Client

from accounts import api_keys
from billing import ledger, statements, tariff
from tests.conftest import Api
from tests.transcription.factories import make_job, make_media, make_transcript
from transcription import jobs
from transcription.models import Job
from transcription.recordings import orderable


def estimate(api, **body):
    return api.post("/v1/estimate", content_type="application/json", fields=json.dumps(body))


def error_of(response):
    return response.json()["error"]


def test_price_of_an_hour_is_told_without_a_trace(api, organization):
    before = statements.balance(organization)
    response = estimate(api, duration_seconds=3600, model="standard", channels="mix", metadata={"a": "b"})
    assert response.status_code == 200
    price_micros = tariff.price_of("standard", 3_600_000)
    dollars = f"{price_micros / 1_000_000:.6f}"
    assert response.json() == {
        "kind": "transcription",
        "model": "standard",
        "cost_micros": price_micros,
        "cost_dollars": dollars,
        "max_cost_micros": price_micros,
        "max_cost_dollars": dollars,
        "held_micros": price_micros,
        "held_dollars": dollars,
        "is_allowed": True,
        "refusal": None,
        "recordings": [{"duration_seconds": 3600.0, "cost_micros": price_micros, "cost_dollars": dollars}],
    }
    assert statements.balance(organization) == before
    assert not Job.objects.exists()


def test_body_of_the_real_call_is_the_body_of_the_estimate(api, organization):
    media = make_media(organization)
    orderable.offer(media, in_transaction=lambda _: None)
    body = {"files": [{"file_id": str(media.pk), "language": "en", "reference": "a"}], "diarize": False}
    told = estimate(api, **body).json()
    made = api.post("/v1/transcribe", content_type="application/json", fields=json.dumps(body))
    assert told["held_micros"] == Job.objects.get(pk=made.json()["job_id"]).quoted_micros


def test_needs_a_key(db):
    assert Client().post("/v1/estimate", {}, content_type="application/json").status_code == 401


@pytest.mark.parametrize(
    ("kind", "scope"),
    [
        ("transcription", "chat"),
        ("language_detection", "read"),
        ("chat", "transcribe"),
        ("answer", "chat"),
        ("answer", "read"),
        ("rewriting", "read"),
        ("chat", "billing"),
    ],
)
def test_key_that_may_not_make_the_call_is_not_told_its_price(organization, kind, scope):
    _, key = api_keys.issue(organization, name="scoped", by=None, scopes=[scope])
    response = estimate(Api(key), kind=kind)
    assert (response.status_code, error_of(response)["type"]) == (403, "insufficient_scope")


def test_only_post(api):
    assert api.get("/v1/estimate").status_code == 405


@pytest.mark.parametrize("kind", ["answer", "rewriting"])
def test_transcript_of_a_stranger_is_as_unknown_as_none(api, charlies, kind):
    job = make_job(charlies)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("a secret"))
    fields = {"kind": kind, **({"instruction": "Shorten."} if kind == "rewriting" else {})}
    theirs, none = (estimate(api, job_id=str(job_id), **fields) for job_id in (job.pk, uuid.uuid4()))
    assert theirs.status_code == none.status_code == 404
    assert error_of(theirs)["message"] == error_of(none)["message"]


def test_file_of_a_stranger_is_unknown(api, charlies):
    media = make_media(charlies)
    orderable.offer(media, in_transaction=lambda _: None)
    response = estimate(api, file_id=str(media.pk))
    assert (response.status_code, error_of(response)["type"]) == (404, "file_not_found")


def test_lack_of_money_is_an_answer_and_no_error(api, organization):
    ledger.reserve(
        organization, amount_micros=ledger.wallet_of(organization).available_micros - 5, reference="job:other"
    )
    response = estimate(api, duration_seconds=10)
    assert response.status_code == 200
    told = response.json()
    assert (told["is_allowed"], told["held_micros"]) == (False, 0)
    assert told["refusal"]["type"] == "insufficient_balance"
    assert told["refusal"]["required_micros"] == told["cost_micros"]
    assert told["refusal"]["available_micros"] == 5


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "duration_seconds"),
        ({"duration_seconds": -1}, "duration_seconds"),
        ({"duration_seconds": 1, "model": "none"}, "model"),
        ({"duration_seconds": 1, "model": "nova*"}, "model"),
        ({"duration_seconds": 1, "language": "xx"}, "language"),
        ({"duration_seconds": 1, "min_speakers": 3, "max_speakers": 2}, "min_speakers"),
        ({"duration_seconds": 1, "metadata": [1]}, "metadata"),
        ({"duration_seconds": 1, "retention": "soon"}, "retention"),
        ({"duration_seconds": 1, "unheard_of": 1}, "unheard_of"),
        ({"kind": "poem"}, "kind"),
        ({"kind": "language_detection", "duration_seconds": 1, "diarize": False}, "diarize"),
        ({"kind": "language_detection", "duration_seconds": 1, "model": "none"}, "model"),
        ({"kind": "chat"}, "request"),
        ({"kind": "answer"}, "job_id"),
        ({"kind": "answer", "job_id": 5}, "job_id"),
        ({"kind": "rewriting", "job_id": "x"}, "instruction"),
        ({"files": [{"duration_seconds": 1, "language": "xx"}]}, "files[0].language"),
        ({"files": [{"file_id": "x"}, {"duration_seconds": "x"}]}, "files[1].duration_seconds"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(api, body, param):
    response = estimate(api, **body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize("raw", ["[]", "1", "", "{", '{"duration_seconds": NaN}', '{"duration_seconds": 1e999}'])
def test_broken_body_is_a_bad_request(api, raw):
    response = api.client.post("/v1/estimate", raw, content_type="application/json", headers={"X-API-Key": api.key})
    assert response.status_code == 400


def test_form_is_refused(api):
    assert api.post("/v1/estimate", {"duration_seconds": "1"}).status_code in {400, 415}


@pytest.mark.parametrize("model", ["whisper-1", "nova-3-medical"])
def test_names_of_other_apis_have_their_price(api, model):
    assert estimate(api, duration_seconds=60, model=model).json()["cost_micros"] == tariff.price_of(model, 60_000)


def test_detection_is_told(api):
    told = estimate(api, kind="language_detection", duration_seconds=7200).json()
    assert told["cost_micros"] == tariff.price_of("standard", 30_000)


@pytest.mark.enable_socket
@pytest.mark.django_db(transaction=True)
def test_chat_is_told_with_its_tokens(api, chat):
    request = {"model": "apex-latest", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
    told = estimate(api, kind="chat", request=request).json()
    assert told["model"] == "apex-latest"
    assert told["max_completion_tokens"] == 50
    assert told["prompt_tokens"] > 0
    assert 0 < told["cost_micros"] == told["held_micros"] < told["max_cost_micros"]
    assert "recordings" not in told
    assert chat.bodies == []
