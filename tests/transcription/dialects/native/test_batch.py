"""Batches in the native API: many files in one JSON request, pages of items, one result of all."""

import asyncio
import json
import uuid

import pytest
from django.utils import timezone

from accounts.errors import InvalidField, UnknownField
from accounts.models import IdempotencyRecord
from billing import ledger, statements
from tests.asgi_stream import AsgiStream
from tests.conftest import AUDIO
from tests.transcription.dialects.native.test_uploads import error_of, order, upload
from tests.transcription.downloads import content_of, cut
from tests.transcription.factories import make_batch, make_job, make_media, make_transcript
from tests.transcription.jobs.test_sources import nothing_was_made
from transcription import jobs
from transcription.dialects.native import batch
from transcription.models import Job, Media, Status
from transcription.recordings import orderable

URL = "https://example.com/talk.mp3"
KNOWN = frozenset({"en", "de"})


@pytest.fixture
def file_ids(organization):
    """Three recordings of 10 s that were sent before."""
    media = [make_media(organization) for _ in range(3)]
    for one in media:
        orderable.offer(one, in_transaction=lambda _: None)
    return [str(one.pk) for one in media]


def finish(item, text="hello"):
    jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))


def fail(item):
    jobs.reject_item(jobs.claim(item.pk), error_type="not_audio", message="This is no audio.")


def get(api, job, path="", **query):
    return api.get(f"/v1/jobs/{job.pk}{path}", **query)


# --- Submission ------------------------------------------------------------------------------------------------------


def test_files_of_one_request_are_one_job(api, organization, file_ids):
    files = [{"file_id": file_id, "reference": f"call {n}"} for n, file_id in enumerate(file_ids)]
    response = order(api, {"files": files, "language": "en", "metadata": {"a": "b"}})
    assert (response.status_code, response.json()["status"]) == (201, "queued")
    job = Job.objects.of(organization).get(pk=response.json()["job_id"])
    assert (job.item_count, job.priority, job.metadata) == (3, "bulk", {"a": "b"})
    assert [item.reference for item in job.items.all()] == ["call 0", "call 1", "call 2"]
    assert job.name == "sentence-slt.wav and 2 others"
    assert statements.balance(organization).held_micros == job.quoted_micros > 0
    shown = get(api, job).json()
    assert (shown["item_count"], shown["items_left"], shown["items_failed"]) == (3, 3, 0)


def test_urls_and_files_are_mixed_and_priced_when_all_are_known(api, organization, file_ids):
    files = [{"url": URL, "language": "auto"}, {"file_id": file_ids[0], "language": "en-GB"}]
    response = order(api, {"files": files})
    job = Job.objects.get(pk=response.json()["job_id"])
    assert (response.json()["status"], job.status, job.quoted_micros) == ("queued", Status.UPLOADING, None)
    assert [item.requested_language for item in job.items.all()] == ["auto", "en"]


def test_one_file_of_a_list_is_a_job_of_one_recording(api, file_ids):
    job = Job.objects.get(pk=order(api, {"files": [{"file_id": file_ids[0]}]}).json()["job_id"])
    assert (job.item_count, job.name, job.priority) == (1, "sentence-slt.wav", "standard")


def test_repeated_request_makes_one_job(api, file_ids):
    body = {"files": [{"file_id": file_id} for file_id in file_ids]}
    first, second = (order(api, body, headers={"Idempotency-Key": "batch"}) for _ in range(2))
    assert first.json() == second.json()
    assert Job.objects.count() == 1
    assert IdempotencyRecord.objects.count() == 1


def test_batch_that_is_not_covered_leaves_nothing_but_the_files(api, organization, file_ids):
    spare = statements.balance(organization).available_micros - 1000
    ledger.reserve(organization, amount_micros=spare, reference="nearly all")
    response = order(api, {"files": [{"file_id": file_id} for file_id in file_ids]})
    assert error_of(response) == (402, "insufficient_balance")
    assert not Job.objects.exists()
    assert Media.objects.count() == 3


@pytest.mark.parametrize(
    ("files", "error", "param"),
    [
        ([], "invalid_field", "files"),
        ("a,b", "invalid_field", "files"),
        ({"url": URL}, "invalid_field", "files"),
        ([URL], "invalid_field", "files"),
        ([{}], "invalid_field", "files[0]"),
        ([{"url": URL}, {"url": URL, "file_id": str(uuid.uuid4())}], "invalid_field", "files[1]"),
        ([{"url": 5}], "invalid_field", "files[0].url"),
        ([{"url": URL, "reference": 5}], "invalid_field", "files[0].reference"),
        ([{"url": URL, "reference": "a\x00"}], "invalid_field", "files[0].reference"),
        ([{"url": URL, "reference": "a"}, {"url": URL, "reference": "a"}], "invalid_field", "files[1].reference"),
        ([{"url": URL, "reference": "a" * 256}], "invalid_field", "files[0].reference"),
        ([{"url": URL, "language": "elvish"}], "invalid_field", "files[0].language"),
        ([{"url": URL, "name": "a"}], "unknown_field", "files[0].name"),
        ([{"url": "http://127.0.0.1/"}], "invalid_field", "files[0].url"),
        ([{"url": URL}] * 10_001, "too_many_files", "files"),
    ],
)
def test_files_that_cannot_be_a_job_are_refused_by_name(api, files, error, param):
    response = order(api, {"files": files})
    assert error_of(response) == (400, error)
    assert response.json()["error"]["param"] == param
    assert nothing_was_made()


@pytest.mark.parametrize("name", ["file_id", "url"])
def test_files_do_not_go_with_a_single_one(api, name):
    response = order(api, {"files": [{"url": URL}], name: str(uuid.uuid4())})
    assert error_of(response) == (400, "invalid_field")


def test_files_do_not_go_into_a_form(api):
    response = api.post("/v1/transcribe", {"files": "a", "file_id": str(uuid.uuid4())})
    assert (error_of(response), response.json()["error"]["param"]) == ((400, "invalid_field"), "files")


@pytest.mark.parametrize("file_id", ["5d3b0c1e-7f8a-4b6d-9e2c-1a2b3c4d5e6f", "x"])
def test_unknown_file_is_not_found(api, file_ids, file_id):
    response = order(api, {"files": [{"file_id": file_ids[0]}, {"file_id": file_id}]})
    assert error_of(response) == (404, "file_not_found")
    assert response.json()["error"]["param"] == "files[1].file_id"
    assert not Job.objects.exists()


def test_strangers_file_is_not_found(api, charlies):
    media = make_media(charlies)
    orderable.offer(media, in_transaction=lambda _: None)
    assert error_of(order(api, {"files": [{"file_id": str(media.pk)}]})) == (404, "file_not_found")


@pytest.mark.long
def test_long_body_is_read_as_far_as_a_batch_may_be(api):
    files = [{"url": f"{URL}?{'s' * 500}", "reference": str(number)} for number in range(1_000)]
    assert order(api, {"files": files}).status_code == 201
    assert error_of(order(api, " " * (8 * 1024**2 + 1))) == (413, "body_too_large")


def test_uploaded_file_is_used_by_two_items(api, organization):
    file_id = upload(api, (AUDIO / "sentence-slt.wav").read_bytes()).json()["file_id"]
    response = order(api, {"files": [{"file_id": file_id}, {"file_id": file_id.upper()}]})
    job = Job.objects.of(organization).get(pk=response.json()["job_id"])
    assert len({item.media_id for item in job.items.all()}) == 1


# --- Items -----------------------------------------------------------------------------------------------------------


def test_items_are_shown_in_pages(api, organization):
    job = make_batch(organization, 5)
    first, second, third, *_ = job.items.all()
    finish(first)
    fail(second)
    jobs.claim(third.pk)
    page = get(api, job, "/items", limit=2).json()
    assert [item["item"] for item in page["items"]] == [1, 2]
    assert (page["next_cursor"], page["items_left"], page["items_failed"]) == ("2", 3, 1)
    assert page["items"][0] == {
        "item": 1,
        "reference": None,
        "name": "sentence-slt.wav",
        "status": "completed",
        "progress": 100,
        "language": "en",
        "duration_seconds": 10.0,
        "cost_dollars": "0.000833",
        "error": None,
        "result_url": f"/v1/jobs/{job.pk}/result?item=1",
    }
    assert page["items"][1]["error"] == {"type": "not_audio", "message": "This is no audio."}
    page = get(api, job, "/items", limit=2, cursor=page["next_cursor"]).json()
    assert [(item["item"], item["status"]) for item in page["items"]] == [(3, "processing"), (4, "queued")]
    page = get(api, job, "/items", limit=2, cursor=page["next_cursor"]).json()
    assert ([item["item"] for item in page["items"]], page["next_cursor"]) == ([5], None)


def test_items_of_a_single_recording_are_one(api, job_of_one):
    assert len(get(api, job_of_one, "/items").json()["items"]) == 1


@pytest.fixture
def job_of_one(organization):
    return make_job(organization)


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "-1"}])
def test_odd_page_of_items_is_refused(api, job_of_one, query):
    assert error_of(get(api, job_of_one, "/items", **query)) == (400, "invalid_field")


def test_page_of_items_has_a_limit(api, job_of_one):
    assert get(api, job_of_one, "/items", limit=100_000).json()["limit"] == 500


@pytest.mark.parametrize("path", ["/items", "/result?item=1"])
def test_stranger_sees_no_item(api, charlies, path):
    job = make_batch(charlies, 2)
    assert error_of(api.get(f"/v1/jobs/{job.pk}{path}")) == (404, "job_not_found")


def test_page_of_items_reads_no_other_items(api, organization, django_assert_max_num_queries):
    job = make_batch(organization, 40)
    with django_assert_max_num_queries(8) as counted:
        get(api, job, "/items", limit=5)
    assert any("LIMIT 6" in query["sql"] for query in counted.captured_queries)


# --- Results ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ended(organization):
    """A batch with a transcript, a failure, and another transcript."""
    job = make_batch(organization, 3)
    first, second, third = job.items.all()
    finish(first, "first words")
    fail(second)
    finish(third, "third words")
    job.refresh_from_db()
    return job


def test_each_item_has_its_result_in_every_format(api, ended):
    assert get(api, ended, "/result", item=3).json()["text"] == "third words"
    response = get(api, ended, "/result", item=3, format="srt")
    assert "third words" in response.content.decode()
    assert f"{ended.pk}-3.srt" in response["Content-Disposition"]


@pytest.mark.parametrize(("item", "error"), [(2, "result_not_found"), (4, "result_not_found")])
def test_item_without_a_result_is_not_found(api, ended, item, error):
    assert error_of(get(api, ended, "/result", item=item)) == (404, error)


@pytest.mark.parametrize("item", ["0", "-1", "x", "1.5"])
def test_odd_number_of_an_item_is_refused(api, ended, item):
    assert error_of(get(api, ended, "/result", item=item)) == (400, "invalid_field")


def test_other_formats_need_the_item(api, ended):
    assert error_of(get(api, ended, "/result", format="srt")) == (409, "several_results")


def test_batch_that_runs_has_no_result(api, organization):
    assert error_of(get(api, make_batch(organization, 2), "/result")) == (404, "result_not_found")


def streamed(key, job):
    async def read():
        stream = AsgiStream(f"/v1/jobs/{job.pk}/result", key=key)
        await stream.end()
        return stream

    return asyncio.run(read())


@pytest.mark.django_db(transaction=True)
def test_result_of_a_batch_has_all_items(key, ended):
    stream = streamed(key, ended)
    assert (stream.status, stream.headers["content-type"]) == (200, "application/json")
    assert stream.json["job_id"] == str(ended.pk)
    assert (stream.json["item_count"], stream.json["items_failed"]) == (3, 1)
    items = stream.json["items"]
    assert [item["result"] and item["result"]["text"] for item in items] == ["first words", None, "third words"]
    assert items[1]["error"]["type"] == "not_audio"
    assert items[0]["result"]["segments"][0]["words"]


def test_retrieval_of_the_whole_result_counts_and_of_one_item_does_not(api, organization):
    job = make_batch(organization, 2)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    for item in job.items.select_related("job"):
        finish(item)
    get(api, job, "/result", item=1)
    assert api.client.head(f"/v1/jobs/{job.pk}/result", headers={"X-API-Key": api.key}).status_code == 200
    job.refresh_from_db()
    assert job.delete_at is None
    assert cut(get(api, job, "/result"))
    job.refresh_from_db()
    assert job.delete_at is None, "it broke off"
    assert content_of(get(api, job, "/result"))
    job.refresh_from_db()
    assert job.delete_at > timezone.now()


# --- Wire ------------------------------------------------------------------------------------------------------------


def test_reading_of_files():
    body = {
        "files": [{"url": f" {URL} ", "reference": None, "language": "EN-us"}, {"file_id": "a", "language": "auto"}]
    }
    assert batch.read_files(body, known=KNOWN) == [
        batch.FileFields(file_id="", url=URL, reference="", language="en"),
        batch.FileFields(file_id="a", url="", reference="", language="auto"),
    ]


def test_refusal_names_the_file():
    with pytest.raises(UnknownField) as unknown:
        batch.read_files({"files": [{"url": URL}, {"urls": URL}]}, known=KNOWN)
    assert unknown.value.data["param"] == "files[1].urls"
    with pytest.raises(InvalidField) as invalid:
        batch.read_files({"files": [{"url": URL, "language": "fr"}]}, known=KNOWN)
    assert invalid.value.data["param"] == "files[0].language"


def test_document_is_one_object_however_many_items(organization):
    job = make_batch(organization, 1)
    assert json.loads(b"".join(batch.document(job, [])))["items"] == []
