"""Jobs whose recordings come later: nothing is held until they are known, and nothing runs that is not held."""

import threading
import time
from dataclasses import replace
from datetime import timedelta

import django_rq
import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts import api_keys, tokens
from accounts.errors import PaymentRequired
from billing import ledger, statements
from billing.models import Hold, TokenSpend
from tests.fixtures import hostile
from tests.fixtures import recordings as samples
from tests.transcription.factories import make_submission, make_transcript
from transcription import jobs, submissions
from transcription.jobs import queue
from transcription.models import Job, JobItem, Media, Status, Upload
from transcription.recordings import storage, uploads
from transcription.speech.options import TranscriptionOptions

SENTENCE = samples.named("sentence-slt.wav")


def begin(organization, *, name="call.wav", path=SENTENCE.path):
    return uploads.begin(organization, name=name, declared_bytes=path.stat().st_size)


def receive(upload, *, path=SENTENCE.path):
    uploads.receive(upload, path=path)
    jobs.bytes_have_come(upload)


def verify(job):
    for item in job.items.all():
        jobs.verify_item(item.pk)
    job.refresh_from_db()


def held(organization):
    return statements.balance(organization).held_micros


@pytest.fixture
def no_recording(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"Not a recording. " * 100)
    return path


def test_job_is_priced_and_held_when_its_recording_is_known(organization):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    assert (job.status, job.quoted_micros, held(organization)) == (Status.UPLOADING, None, 0)
    receive(upload)
    job.refresh_from_db()
    assert (job.status, held(organization)) == (Status.VERIFYING, 0)
    verify(job)
    assert (job.status, job.duration_ms) == (Status.QUEUED, SENTENCE.duration_ms)
    assert held(organization) == job.quoted_micros > 0
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript(duration_ms=SENTENCE.duration_ms))
    job.refresh_from_db()
    assert (job.status, job.cost_micros, held(organization)) == (Status.COMPLETED, job.quoted_micros, 0)


@pytest.mark.parametrize("limit_micros", [100, 1_000_000])
def test_recording_of_a_token_that_has_ended_is_held_within_its_limit_or_not_at_all(organization, limit_micros):
    key, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["transcribe"], "lifetime": timedelta(minutes=1), "spend_limit_micros": limit_micros}
    token, _ = tokens.issue(key, name="t", **facts)
    upload = begin(organization)
    job = submissions.submit_upload(replace(make_submission(organization), api_key=token), upload=upload)
    tokens.revoke(key, token_id=token.pk)
    receive(upload)
    verify(job)
    if limit_micros == 100:
        assert (job.status, held(organization), Hold.objects.count()) == (Status.FAILED, 0, 0)
        return
    assert job.status == Status.QUEUED
    hold = Hold.objects.get()
    assert (hold.api_key_id, hold.token_id, hold.amount_micros) == (key.pk, token.pk, job.quoted_micros)
    assert TokenSpend.objects.get().spent_micros == job.quoted_micros


def test_job_of_a_token_keeps_nothing_of_why_the_organization_cannot_pay(organization):
    key, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["transcribe"], "lifetime": timedelta(minutes=1), "spend_limit_micros": 1_000_000}
    token, _ = tokens.issue(key, name="t", **facts)
    upload = begin(organization)
    job = submissions.submit_upload(replace(make_submission(organization), api_key=token), upload=upload)
    spare = statements.balance(organization).available_micros - 1
    ledger.reserve(organization, amount_micros=spare, reference="nearly all")
    receive(upload)
    verify(job)
    assert (job.status, job.error_type) == (Status.FAILED, "insufficient_balance")
    assert job.error_message == "The site cannot pay for this now."
    assert job.items.get().error_message == job.error_message


def test_upload_that_has_come_is_verified_at_once(organization):
    upload = begin(organization)
    uploads.receive(upload, path=SENTENCE.path)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    assert job.status == Status.VERIFYING


def test_recording_of_an_earlier_job_serves_again(organization):
    upload = begin(organization)
    uploads.receive(upload, path=SENTENCE.path)
    first, second = (submissions.submit_upload(make_submission(organization), upload=upload) for _ in range(2))
    verify(first)
    verify(second)
    assert first.items.get().media == second.items.get().media
    assert Hold.objects.open().count() == 2


def test_item_that_is_verified_twice_is_held_once(organization):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload)
    verify(job)
    verify(job)
    assert Hold.objects.count() == 1
    assert held(organization) == job.quoted_micros


def test_bytes_that_are_told_twice_are_verified_once(organization, django_capture_on_commit_callbacks):
    upload = begin(organization)
    submissions.submit_upload(make_submission(organization), upload=upload)
    uploads.receive(upload, path=SENTENCE.path)
    with django_capture_on_commit_callbacks(execute=True):
        assert jobs.bytes_have_come(upload) == 1
        assert jobs.bytes_have_come(upload) == 0
    assert len(queue.waiting_task_ids("standard")) == 1


def test_worker_is_told_to_transcribe_once_the_price_is_held(organization, django_capture_on_commit_callbacks):
    upload = begin(organization)
    with django_capture_on_commit_callbacks(execute=True):
        job = submissions.submit_upload(make_submission(organization), upload=upload)
    assert queue.waiting_task_ids("standard") == []
    with django_capture_on_commit_callbacks(execute=True):
        receive(upload)
    (verification,) = queue.waiting_task_ids("standard")
    with django_capture_on_commit_callbacks(execute=True):
        verify(job)
    assert queue.waiting_task_ids("standard") == [verification, queue.task_id(job.items.get())]
    assert jobs.claim(job.items.get().pk) is not None


def test_job_without_money_is_refused_before_the_bytes_come(organization):
    ledger.reserve(organization, amount_micros=statements.balance(organization).available_micros, reference="all")
    with pytest.raises(PaymentRequired):
        submissions.submit_upload(make_submission(organization), upload=begin(organization))
    assert not Job.objects.exists()


def test_recording_that_is_not_covered_fails_its_job_and_costs_nothing(organization):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    spare = statements.balance(organization).available_micros - 1
    ledger.reserve(organization, amount_micros=spare, reference="nearly all")
    receive(upload)
    verify(job)
    assert (job.status, job.error_type, job.cost_micros) == (Status.FAILED, "insufficient_balance", None)
    assert held(organization) == spare
    assert job.items.get().status == Status.FAILED


def test_too_many_channels_fail_the_job(organization):
    upload = begin(organization)
    job = submissions.submit_upload(
        make_submission(organization, options=TranscriptionOptions(channels="split")), upload=upload
    )
    receive(upload)
    media = uploads.verify(upload)
    Media.objects.filter(pk=media.pk).update(channels=99)
    verify(job)
    assert (job.status, job.error_type) == (Status.FAILED, "invalid_field")


def test_file_that_is_no_recording_fails_the_job_with_its_reason(organization, no_recording):
    upload = begin(organization, path=no_recording)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload, path=no_recording)
    verify(job)
    assert (job.status, job.error_type) == (Status.FAILED, "not_audio")
    assert not Hold.objects.exists()


@pytest.mark.parametrize(
    ("accepts", "status", "error_type"), [(False, Status.FAILED, "truncated_audio"), (True, Status.QUEUED, "")]
)
def test_file_that_is_cut_off_is_accepted_if_its_job_says_so(accepts, status, error_type, organization, tmp_path):
    path = hostile.truncated(tmp_path, file="sentence-slt.wav", part=0.6)
    upload = begin(organization, path=path)
    options = TranscriptionOptions(accept_truncated=accepts)
    job = submissions.submit_upload(make_submission(organization, options=options), upload=upload)
    receive(upload, path=path)
    verify(job)
    assert (job.status, job.error_type) == (status, error_type)
    assert (held(organization) > 0) is accepts


def test_file_that_is_cut_off_is_accepted_if_its_upload_says_so(organization, tmp_path):
    path = hostile.truncated(tmp_path, file="sentence-slt.wav", part=0.6)
    upload = begin(organization, path=path)
    upload.may_be_truncated = True
    upload.save()
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload, path=path)
    verify(job)
    assert (job.status, job.error_type) == (Status.QUEUED, "")


def test_file_that_is_cut_off_is_there_for_a_job_that_accepts_it(organization, tmp_path):
    path = hostile.truncated(tmp_path, file="sentence-slt.wav", part=0.6)
    upload = begin(organization, path=path)
    strict = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload, path=path)
    verify(strict)
    assert (strict.status, strict.error_type) == (Status.FAILED, "truncated_audio")
    options = TranscriptionOptions(accept_truncated=True)
    second = submissions.submit_upload(make_submission(organization, options=options), upload=upload)
    verify(second)
    assert (second.status, second.error_type) == (Status.QUEUED, "")


def test_batch_waits_for_its_last_recording_and_pays_for_the_good_ones(organization, no_recording):
    good, bad, late = begin(organization), begin(organization, path=no_recording), begin(organization)
    job = jobs.submit_uploads(make_submission(organization), uploads=[good, bad, late], name="three")
    receive(good)
    receive(bad, path=no_recording)
    verify(job)
    assert (job.status, job.items_unverified, held(organization)) == (Status.VERIFYING, 1, 0)
    receive(late)
    verify(job)
    assert (job.status, job.items_unverified, job.items_failed, job.items_left) == (Status.QUEUED, 0, 1, 2)
    assert job.duration_ms == 2 * SENTENCE.duration_ms
    for item in job.items.filter(status=Status.QUEUED):
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(duration_ms=SENTENCE.duration_ms))
    job.refresh_from_db()
    assert (job.status, job.cost_micros) == (Status.COMPLETED_WITH_ERRORS, job.quoted_micros)


@pytest.mark.parametrize("has_come", [False, True])
def test_canceled_job_is_not_verified_and_costs_nothing(organization, has_come):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    if has_come:
        receive(upload)
    jobs.cancel(job)
    assert job.status == Status.CANCELED
    if not has_come:
        receive(upload)
    verify(job)
    assert (job.status, Hold.objects.count()) == (Status.CANCELED, 0)


def test_delete_removes_uploads_that_never_came(organization):
    job = submissions.submit_upload(make_submission(organization), upload=begin(organization))
    jobs.delete(job)
    assert not Upload.objects.exists()


def test_delete_removes_the_upload_with_its_recording(organization):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload)
    verify(job)
    jobs.delete(job)
    assert not Upload.objects.exists()
    assert not Media.objects.exists()


def test_job_that_waits_for_the_same_file_outlives_the_deletion_of_another(organization):
    upload = begin(organization)
    uploads.receive(upload, path=SENTENCE.path)
    first, second = (submissions.submit_upload(make_submission(organization), upload=upload) for _ in range(2))
    verify(first)
    # The workers were busy: of the second item only the upload is known.
    jobs.delete(first)
    verify(second)
    assert (second.status, second.items.get().media) == (Status.QUEUED, Media.objects.get())
    assert held(organization) == second.quoted_micros > 0
    jobs.delete(second)
    assert (Media.objects.exists(), Upload.objects.exists(), held(organization)) == (False, False, 0)


@pytest.mark.parametrize("status", [Status.UPLOADING, Status.VERIFYING])
def test_item_that_has_lost_its_upload_ends_without_a_charge(organization, status):
    lost, good = begin(organization), begin(organization)
    job = jobs.submit_uploads(make_submission(organization), uploads=[lost, good], name="two")
    receive(good)
    verify(job)
    JobItem.objects.filter(upload=lost).update(status=status, touched_at=timezone.now() - timedelta(hours=1))
    lost.delete()
    jobs.reconcile(now=timezone.now())
    verify(job)
    item = job.items.get(position=0)
    assert (item.status, item.error_type, item.cost_micros) == (Status.FAILED, "file_not_found", None)
    assert (job.status, job.items_left, job.quoted_micros) == (Status.QUEUED, 1, held(organization))


def test_recording_that_was_probed_after_its_job_was_canceled_goes_with_the_job(
    organization, django_capture_on_commit_callbacks
):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload)
    jobs.cancel(job)
    # A worker that had begun the probe ends it now.
    media = uploads.verify(upload)
    assert default_storage.exists(media.storage_key)
    with django_capture_on_commit_callbacks(execute=True):
        jobs.delete(job)
    assert (Media.objects.exists(), Upload.objects.exists()) == (False, False)
    assert not default_storage.exists(media.storage_key)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_recording_that_two_canceled_jobs_know_by_its_upload_goes_with_the_last(organization, order):
    upload = begin(organization)
    pair = [submissions.submit_upload(make_submission(organization), upload=upload) for _ in range(2)]
    receive(upload)
    for job in pair:
        jobs.cancel(job)
    uploads.verify(upload)
    jobs.delete(pair[order[0]])
    assert Media.objects.exists()
    jobs.delete(pair[order[1]])
    assert (Media.objects.exists(), Upload.objects.exists()) == (False, False)


def test_job_that_is_deleted_while_its_file_is_probed_leaves_nothing(
    organization, monkeypatch, django_capture_on_commit_callbacks
):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload)
    item_id = job.items.get().pk
    accept_stored = storage.accept_stored

    def slow(*args, **kwargs):
        media = accept_stored(*args, **kwargs)
        with django_capture_on_commit_callbacks(execute=True):
            jobs.delete(job)
        return media

    monkeypatch.setattr(storage, "accept_stored", slow)
    jobs.verify_item(item_id)
    assert (Job.objects.exists(), Upload.objects.exists(), Media.objects.exists()) == (False, False, False)
    assert not default_storage.exists(upload.storage_key)


@pytest.mark.django_db(transaction=True)
def test_probe_that_takes_long_is_not_given_to_a_second_worker(organization, monkeypatch, settings):
    settings.HEARTBEAT_SECONDS = 0.05
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    receive(upload)
    item = job.items.get()
    django_rq.get_queue("standard").empty()  # The worker has taken the task.
    accept_stored = storage.accept_stored
    found = []

    def slow(*args, **kwargs):
        long_ago = timezone.now() - timedelta(minutes=1)
        JobItem.objects.update(touched_at=long_ago)
        ends_at = time.monotonic() + 5
        while JobItem.objects.get().touched_at == long_ago and time.monotonic() < ends_at:
            time.sleep(0.05)
        found.append(jobs.reconcile(now=timezone.now()))
        return accept_stored(*args, **kwargs)

    monkeypatch.setattr(storage, "accept_stored", slow)
    jobs.verify_item(item.pk)
    job.refresh_from_db()
    assert (found, job.status) == ([0], Status.QUEUED)
    # A heartbeat that went on would keep a lost item from being found.
    assert str(item.pk) not in " ".join(thread.name for thread in threading.enumerate())


def test_stranger_cannot_use_an_upload(organization, charlies):
    with pytest.raises(AssertionError, match="reached by organization"):
        submissions.submit_upload(make_submission(charlies), upload=begin(organization))
