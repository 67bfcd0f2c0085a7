"""Orders of jobs whose files are sent by themselves, as both generations of packages send them."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import path
from django.utils import timezone

from accounts import api_keys
from billing.models import Wallet
from tests.dialects.faces import run_all
from tests.transcription import remote
from tests.transcription.dialects.transcribeapi.calling import WAV, code, send
from transcription import jobs
from transcription.dialects.transcribeapi import creation
from transcription.dialects.transcribeapi.job_views import JobsView
from transcription.dialects.transcribeapi.views import TranscribeView
from transcription.jobs import importing
from transcription.models import Job, Upload
from voxsite import urls

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fake_engine")]


def test_older_and_newer_package_get_all_uploads_at_once(post):
    response = post("/transcribe", {"files": [{"reference_id": "a"}, {"reference_id": "b"}], "language": "en"})
    assert response.status_code == 201, response.content
    shown = response.json()
    assert (shown["status"], shown["job_status"], shown["total_files"]) == ("uploading", "uploading", 2)
    assert [entry["reference_id"] for entry in shown["uploads"]] == ["a", "b"]
    assert {entry["upload"]["type"] for entry in shown["uploads"]} == {"put"}
    assert all(entry["upload"]["url"].startswith("http") for entry in shown["uploads"])
    # The older package looks at a single `upload` first, which must not hide the list.
    assert "upload" not in shown


def test_single_file_has_its_upload_in_both_places(post):
    shown = post("/transcribe", {"files": [{"reference_id": "file_000001"}]}).json()
    assert shown["upload"] == shown["uploads"][0]["upload"]
    assert shown["reference_id"] == "file_000001"


def test_documented_big_file(post):
    shown = post("/jobs", {"type": "big_file", "size_bytes": 157_286_400, "content_type": "audio/mpeg"}).json()
    assert (shown["status"], shown["total_files"], shown["type"]) == ("uploading", 1, "big_file")
    assert shown["uploads"][0]["reference_id"] == "file_000001"


def test_documented_batch_has_its_uploads_in_pages(post):
    body = {"type": "batch", "files": [{"reference_id": "file_000001"}, {"reference_id": "file_000002"}]}
    shown = post("/jobs", body).json()
    assert "uploads" not in shown
    page = post(
        f"/jobs/{shown['job_id']}/upload-urls",
        {"files": [{"file_id": "file_000002", "filename": "episode-2.mp3", "content_type": "audio/mpeg"}]},
    )
    assert page.status_code == 200, page.content
    [entry] = page.json()["uploads"]
    assert (entry["file_id"], entry["filename"]) == ("file_000002", "episode-2.mp3")
    assert entry["upload"]["type"] == "put"
    assert Upload.objects.get(items__reference="file_000002").declared_type == "audio/mpeg"


@pytest.mark.long
@pytest.mark.parametrize("sent", ["audio/ü", "audio/mpeg\r\nX-Other: 1"])
def test_type_that_no_header_can_have_is_not_signed(post, sent):
    """A signed address binds its type, so nobody could send the file."""
    job_id = post("/jobs", {"type": "batch", "files": [{"reference_id": "a"}, {"reference_id": "b"}]}).json()["job_id"]
    for content_type, kept in ((sent, ""), (" audio/mpeg ", "audio/mpeg"), (sent, "audio/mpeg")):
        page = post(f"/jobs/{job_id}/upload-urls", {"files": [{"file_id": "a", "content_type": content_type}]})
        assert page.status_code == 200, page.content
        assert Upload.objects.get(items__reference="a").declared_type == kept
        assert page.json()["uploads"][0]["upload"].get("headers", {}).get("Content-Type", "") == kept


@pytest.mark.long
@pytest.mark.enable_socket
def test_urls_alone_need_no_upload(post, settings):
    with remote.running(WAV) as server:
        settings.ALLOWED_PRIVATE_ADDRESSES = [server.socket]
        body = {"files": [{"reference_id": "a", "url": server.url("/whole")}, {"url": server.url("/talk.mp3")}]}
        shown = post("/transcribe", body).json()
        assert "uploads" not in shown
        run_all()
    ended = post(f"/transcribe/{shown['job_id']}", method="get").json()
    assert (ended["status"], ended["completed_files"]) == ("completed", 2)


def test_answer_has_no_balance_before_the_end(post):
    """A package that tops up by itself would do so after every order."""
    shown = post("/transcribe", {"files": [{}, {}]}).json()
    assert "remaining_balance" not in shown


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"files": []}, "invalid_job_request"),
        ({"files": [{}] * 10_001}, "too_many_files"),
        ({"files": [{"size_bytes": 6 * 10**9}] * 2}, "batch_too_large"),
        ({"files": [{}, {"filename": "a.mp4"}]}, "invalid_file_metadata"),
        ({"files": [{"url": "http://10.0.0.1/a.mp3"}]}, "invalid_job_request"),
        ({"files": [{"url": "http://10.0.0.1/a.mp3"}, {}]}, "invalid_job_request"),
        ({"files": [{}], "language": "klingon"}, "invalid_job_request"),
        ({"files": [{}], "model": "gpt-9"}, "invalid_job_request"),
        ({"files": [{}], "webhook_url": "http://10.0.0.1/"}, "invalid_job_request"),
    ],
)
def test_order_that_is_wrong_leaves_nothing(post, body, expected):
    for address, sent in (("/transcribe", body), ("/jobs", {"type": "batch", **body})):
        assert code(post(address, sent)) == (400, expected), address
    assert not Job.objects.exists()
    assert not Upload.objects.exists()


def test_without_credit_nothing_is_ordered(post):
    Wallet.objects.update(balance_micros=0)
    assert code(post("/jobs", {"type": "big_file"})) == (402, "insufficient_credit")


def test_answer_that_was_lost_is_given_again_with_the_same_job(post):
    """The packages send an order up to three times, without an Idempotency-Key."""
    body = {"files": [{"reference_id": "a"}, {"reference_id": "b"}]}
    first, second = post("/transcribe", body), post("/transcribe", body)
    assert first.json()["job_id"] == second.json()["job_id"]
    assert second["Idempotency-Replayed"] == "true"
    assert len(second.json()["uploads"]) == 2
    assert Job.objects.count() == 1
    assert post("/transcribe", {**body, "language": "en"}).json()["job_id"] != first.json()["job_id"]


@pytest.mark.long
def test_same_order_after_a_while_or_a_failure_is_a_new_one(post):
    body = {"files": [{"reference_id": "a"}]}
    first = post("/transcribe", body).json()["job_id"]
    Job.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    second = post("/transcribe", body).json()["job_id"]
    jobs.cancel(Job.objects.get(pk=second))
    third = post("/transcribe", body).json()["job_id"]
    assert len({first, second, third}) == 3


@pytest.mark.long
@pytest.mark.enable_socket
def test_same_order_as_a_job_that_was_run_again_is_a_new_one(post, settings):
    with remote.running(WAV) as server:
        settings.ALLOWED_PRIVATE_ADDRESSES = [server.socket]
        body = {"files": [{"reference_id": "a", "url": server.url("/whole")}]}
        first = Job.objects.get(pk=post("/transcribe", body).json()["job_id"])
        importing.fetch_all()
    jobs.verify_item(first.items.get().pk)
    jobs.cancel(first)
    again = jobs.run_again(first)
    assert again.items.get().reference == "a"
    assert post("/transcribe", body).json()["job_id"] not in {str(first.pk), str(again.pk)}


def test_same_order_of_a_stranger_is_their_own(post, charlies):
    body = {"files": [{"reference_id": "a"}]}
    first = post("/transcribe", body).json()["job_id"]
    stranger = api_keys.issue(charlies, name="calls", by=None)[1]
    other = post("/transcribe", body, headers={"Authorization": f"Bearer {stranger}"})
    assert other.json()["job_id"] != first


def test_idempotency_key_of_an_order(post):
    headers = {"Idempotency-Key": "order-1"}
    first = post("/jobs", {"type": "big_file"}, headers=headers)
    again = post("/jobs", {"type": "big_file"}, headers=headers)
    assert first.json()["job_id"] == again.json()["job_id"]
    assert again.json()["uploads"][0]["upload"]["url"]
    assert again["Idempotency-Replayed"] == "true"
    other = post("/jobs", {"type": "big_file", "language": "en"}, headers=headers)
    assert code(other) == (409, "idempotency_key_reused")


@pytest.mark.long
def test_two_idempotency_keys_are_two_orders(post):
    """Recordings of equal size make equal orders. A key says that it is another one."""
    body = {"type": "big_file", "size_bytes": len(WAV)}
    found = [
        post("/jobs", body, headers=headers).json()["job_id"]
        for headers in (None, {"Idempotency-Key": "order-1"}, {"Idempotency-Key": "order-2"})
    ]
    assert len(set(found)) == 3
    # Nor does an order without a key get the job of one that has a key.
    assert post("/jobs", body).json()["job_id"] == found[0]


@pytest.mark.long
@pytest.mark.parametrize("sent", [("a",), ("a", "b")])
def test_order_after_a_file_has_come_is_a_new_one(post, tmp_path, sent):
    """Whoever has sent a file had the answer, so an equal order is no repetition: its recordings are others."""
    body = {"files": [{"reference_id": name, "size_bytes": len(WAV)} for name in ("a", "b")]}
    first = post("/transcribe", body).json()
    for reference in sent:
        send(reference, tmp_path=tmp_path)
    second = post("/transcribe", body)
    assert second.status_code == 201, second.content
    assert second.json()["job_id"] != first["job_id"]
    assert [entry["reference_id"] for entry in second.json()["uploads"]] == ["a", "b"]


@pytest.mark.long
@pytest.mark.enable_socket
def test_order_of_urls_is_the_same_job_also_when_they_have_come(post, settings):
    with remote.running(WAV) as server:
        settings.ALLOWED_PRIVATE_ADDRESSES = [server.socket]
        body = {"files": [{"reference_id": "a", "url": server.url("/whole")}]}
        first = post("/transcribe", body).json()["job_id"]
        run_all()
        assert post(f"/transcribe/{first}", method="get").json()["job_status"] == "completed"
        assert post("/transcribe", body).json()["job_id"] == first
    assert Job.objects.count() == 1


class Watching(threading.BoundedSemaphore):
    """Turns that note of each wait whether a database connection was held meanwhile."""

    def __init__(self):
        super().__init__(2)
        self.held = []

    def acquire(self, *args, **kwargs):
        self.held.append(connection.connection is not None)
        return super().acquire(*args, **kwargs)


@pytest.fixture
def take(settings):
    """Let large orders take other turns than those of the process."""

    def take(turns):
        views = (
            path("transcribeapi/v1/transcribe", TranscribeView.as_view(turns=turns), name="transcribeapi-transcribe"),
            path("transcribeapi/v1/jobs", JobsView.as_view(turns=turns), name="transcribeapi-jobs"),
        )
        settings.ROOT_URLCONF = (*views, *urls.urlpatterns)

    return take


LARGE = {"files": [{"reference_id": "a"}], "padding": "x" * 300_000}


@pytest.mark.long
def test_large_orders_take_turns_and_do_not_wait_for_ever(post, take):
    turns = creation.Turns(threading.BoundedSemaphore(2), wait_seconds=0.01)
    take(turns)
    with turns.one(), turns.one():
        for address, body in (("/transcribe", LARGE), ("/jobs", {"type": "batch", **LARGE})):
            refused = post(address, body)
            assert code(refused) == (503, "no_room")
            assert int(refused["Retry-After"]) > 0
        assert not Job.objects.exists()
        # A small one needs no turn.
        assert post("/transcribe", {"files": [{"reference_id": "b"}]}).status_code == 201
    # Each has given its turn back, also one that is refused later.
    for _ in range(3):
        assert code(post("/transcribe", {**LARGE, "language": "klingon"})) == (400, "invalid_job_request")
    assert post("/transcribe", LARGE).status_code == 201


def test_large_order_holds_no_database_connection_while_it_waits(post, take):
    """Those of one organization would else keep all connections of a process from all others."""
    free = Watching()
    take(creation.Turns(free))
    assert post("/transcribe", LARGE).status_code == 201
    assert free.held == [False]
