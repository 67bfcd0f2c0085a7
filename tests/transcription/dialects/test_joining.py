"""Which job answers a call: a new one, or that of an earlier call that it repeats."""

import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.utils import timezone
from redis import Redis

from accounts import api_keys
from accounts.errors import BadMedia, Conflict
from accounts.gate import idempotency
from accounts.models import IdempotencyRecord
from billing import statements
from billing.models import Hold
from tests.conftest import AUDIO
from tests.transcription.factories import make_job, make_submission, make_transcript
from transcription import jobs
from transcription.dialects import joining
from transcription.dialects.joining import Call
from transcription.jobs import waiters
from transcription.models import Job, JobItem, Media, Status

# As `idempotency.fingerprint` makes them.
MARK = "a" * 64
CONTENT = (AUDIO / "sentence-slt.wav").read_bytes()


@pytest.fixture
def api_key(organization):
    return api_keys.issue(organization, name="test", by=None)[0]


@pytest.fixture
def ask(organization, api_key):
    """Return a maker of calls for the same recording."""

    def find(*, content=CONTENT, mark=MARK, api_key=api_key, **fields):
        upload = SimpleUploadedFile("a.wav", content)
        submission = make_submission(organization, api_key=api_key)
        found = joining.find_or_submit(Call(submission=submission, upload=upload, fingerprint=mark, **fields))
        if found is None:
            return None
        job, is_replay, find.waiter = found
        return job, is_replay

    return find


FIRST = {"is_counted": True}
RETRY = {"is_counted": True, "is_retry": True}


def finish(job):
    item = jobs.claim(JobItem.objects.get(job=job).pk)
    jobs.finish_item(item, transcript=make_transcript(duration_ms=item.recording.duration_ms))


def fail(job):
    JobItem.objects.filter(job=job).update(attempt=10)
    jobs.fail_item(jobs.claim(JobItem.objects.get(job=job).pk), error_type="engine_failed", message="no")


def age(job, seconds):
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(seconds=seconds))


def test_without_a_key_or_a_count_every_call_is_a_job(ask):
    assert ask()[0] != ask()[0]
    assert not IdempotencyRecord.objects.exists()


def test_retry_joins_the_job_that_runs_and_the_one_that_has_ended(ask):
    job, is_replay = ask(**FIRST)
    assert not is_replay
    assert ask(**RETRY) == (job, True)
    finish(job)
    assert ask(**RETRY) == (job, True)


def test_first_try_repeats_nothing(ask):
    first, _ = ask(**FIRST)
    second, is_replay = ask(**FIRST)
    assert (second == first, is_replay) == (False, False)
    assert ask(**RETRY) == (second, True)


def test_retry_of_another_key_or_request_is_a_job_of_its_own(ask, organization):
    first, _ = ask(**FIRST)
    other_key = api_keys.issue(organization, name="other", by=None)[0]
    assert ask(**RETRY, api_key=other_key)[1] is False
    assert ask(**RETRY, mark="b" * 64)[1] is False
    assert ask(**RETRY) == (first, True)


def test_call_that_is_left_while_its_retry_is_submitted_is_joined(organization, api_key):
    """The retry has asked for such calls by then. Its own job ends for nothing."""

    def leave(job):
        waiters.leave(left.pk, name=waiter)
        joining.note_unanswered(left, mark="m", is_at_url=False, left_at=time.time())
        # The process of the first call sees no later one yet.
        assert not joining.cancel_if_repeated(left, mark="m", is_at_url=False, called_at=first.called_at)

    def call(in_transaction=None):
        upload = SimpleUploadedFile("a.wav", CONTENT)
        submission = make_submission(organization, api_key=api_key, in_transaction=in_transaction)
        return Call(submission=submission, upload=upload, mark="m")

    first = call()
    left, _, waiter = joining.find_or_submit(first)
    job, is_replay, _ = joining.find_or_submit(call(leave))
    assert (job, is_replay) == (left, True)
    assert [job.status for job in Job.objects.order_by("created_at")] == [Status.QUEUED, Status.CANCELED]
    assert not waiters.has_unanswered("m")


def test_retry_that_meets_an_outage_leaves_its_job_to_the_next_one(organization, api_key):
    """It had taken the note of the call that was left: the next try would pay for the same transcript again."""

    def ask():
        submission = make_submission(organization, api_key=api_key)
        return joining.find_or_submit(
            Call(submission=submission, upload=SimpleUploadedFile("a.wav", CONTENT), mark="m")
        )

    left, _, waiter = ask()
    waiters.leave(left.pk, name=waiter)
    joining.note_unanswered(left, mark="m", is_at_url=False, left_at=time.time())

    def outage(execute, sql, *args):
        """The database is away when the job of the first call is read."""
        if 'FROM "transcription_job" ' in sql:
            raise OperationalError("away")
        return execute(sql, *args)

    with connection.execute_wrapper(outage), pytest.raises(OperationalError):
        ask()
    assert ask()[:2] == (left, True)


@pytest.mark.parametrize("end", [fail, jobs.cancel])
def test_later_equal_call_without_a_transcript_is_no_retry(organization, api_key, end):
    calls = [
        Call(
            submission=make_submission(organization, api_key=api_key),
            upload=SimpleUploadedFile("a.wav", CONTENT),
            mark="m",
        )
        for _ in range(2)
    ]
    (left, _, waiter), (later, _, _) = map(joining.find_or_submit, calls)
    waiters.leave(left.pk, name=waiter)
    end(later)
    assert not joining.cancel_if_repeated(left, mark="m", is_at_url=False, called_at=calls[0].called_at)


@pytest.mark.parametrize("left_seconds", [29, 31])
def test_file_at_a_url_is_fetched_again_unless_it_was_left_a_moment_ago(organization, api_key, settings, left_seconds):
    """Another file may be there by then. How long the answer was prepared after the end of the job is no matter."""
    settings.DISCONNECT_GRACE_SECONDS = 30

    def ask():
        submission = make_submission(organization, api_key=api_key)
        return joining.find_or_submit(Call(submission=submission, url="https://example.com/a.wav", mark="m"))

    def leave():
        joining.note_unanswered(left, mark="m", is_at_url=True, left_at=time.time() - left_seconds)

    left, _, waiter = ask()
    waiters.leave(left.pk, name=waiter)
    leave()
    # While it runs, its file is the one that the retry would get.
    assert ask()[:2] == (left, True)
    leave()
    Job.objects.filter(pk=left.pk).update(
        status=Status.COMPLETED, items_left=0, quoted_micros=0, finished_at=timezone.now() - timedelta(seconds=200)
    )
    again, is_replay, _ = ask()
    assert (again == left, is_replay) == ((True, True) if left_seconds == 29 else (False, False))


def test_answer_to_tries_is_repeated_for_ten_minutes(ask):
    job, _ = ask(**FIRST)
    finish(job)
    age(job, 590)
    assert ask(**RETRY) == (job, True)
    age(job, 610)
    later, is_replay = ask(**RETRY)
    assert (later == job, is_replay) == (False, False)


def test_answer_to_a_key_is_repeated_longer(ask):
    job, _ = ask(key="k")
    finish(job)
    age(job, 3600)
    assert ask(key="k") == (job, True)


@pytest.mark.parametrize("how", [{"key": "k"}, RETRY])
@pytest.mark.parametrize("end", [fail, jobs.cancel])
def test_job_that_gave_no_transcript_is_not_repeated(ask, how, end):
    job, _ = ask(**how)
    end(job)
    again, is_replay = ask(**how)
    assert (again == job, is_replay) == (False, False)
    assert ask(**how) == (again, True)


def test_nobody_joins_a_job_that_has_ended_for_nothing(ask):
    """A retry may have found the job just before the grace of its first try ended."""
    job, _ = ask(key="k")
    name = joining.join(job)
    assert waiters.is_awaited(job.pk)
    assert joining.cancel_unless_awaited(job).status == Status.QUEUED
    waiters.leave(job.pk, name=name)
    waiters.leave(job.pk, name=ask.waiter)
    assert joining.cancel_unless_awaited(job).status == Status.CANCELED
    assert joining.join(job) is None
    jobs.delete(job)
    assert joining.join(job) is None
    assert joining.cancel_unless_awaited(job) is None


def test_second_departure_has_the_whole_grace(ask):
    """A client leaves, comes back and leaves again: the end of its first grace cancels nothing."""
    job, _ = ask(key="k")
    first = ask.waiter
    waiters.leave(job.pk, name=first)
    ask(key="k")
    waiters.leave(job.pk, name=ask.waiter)
    joining.cancel_if_left(job, waiter=first)
    assert Job.objects.get().status == Status.QUEUED
    assert joining.cancel_if_left(job, waiter=ask.waiter).status == Status.CANCELED


def test_job_that_has_completed_is_joined_and_not_canceled(ask):
    job, _ = ask(key="k")
    finish(job)
    assert joining.join(job)
    assert joining.cancel_unless_awaited(job).status == Status.COMPLETED


def test_deleted_job_has_no_answer_for_a_key(ask):
    job, _ = ask(key="k")
    jobs.delete(job)
    with pytest.raises(Conflict) as caught:
        ask(key="k")
    assert caught.value.type == "answer_not_kept"


def test_deleted_job_is_done_anew_for_a_retry(ask):
    job, _ = ask(**FIRST)
    jobs.delete(job)
    assert ask(**RETRY)[1] is False


def test_call_while_the_first_is_about_to_submit_is_told_to_wait(ask, organization):
    idempotency.claim(organization, key="k", request_fingerprint=MARK)
    assert ask(key="k") is None


def test_call_that_was_taken_over_leaves_nothing_and_gets_the_job_of_the_other(ask, organization, monkeypatch):
    """Its probe took so long that its client gave up and sent it again."""
    real, others = idempotency.claim, []

    def claim_and_be_slow(*args, **fields):
        made = real(*args, **fields)
        IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=6))
        others.append(real(*args, **fields))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "claim", claim_and_be_slow)
        with pytest.raises(idempotency.TakenOver):
            ask(key="k")
    assert not Job.objects.exists()
    assert not Media.objects.exists()
    assert not Hold.objects.exists()
    assert ask(key="k", was_taken_over=True) is None
    # The other one is refused. The file of the slow one is gone, so it does not take its place.
    others[0].forget()
    with pytest.raises(idempotency.TakenOver):
        ask(key="k", was_taken_over=True)
    other, _ = ask(key="k")
    assert ask(key="k", was_taken_over=True) == (other, True)


def test_key_of_another_request_is_refused(ask):
    ask(key="k")
    with pytest.raises(Conflict) as caught:
        ask(key="k", mark="other")
    assert caught.value.type == "idempotency_key_reused"


def test_key_that_was_used_for_an_answer_of_another_kind_is_refused(ask, organization):
    claim = idempotency.claim(organization, key="k", request_fingerprint=MARK)
    claim.keep(200, {})
    with pytest.raises(Conflict) as caught:
        ask(key="k")
    assert caught.value.type == "idempotency_key_reused"


def test_refused_recording_frees_the_key(ask):
    with pytest.raises(BadMedia):
        ask(key="k", content=b"no audio")
    assert ask(key="k")[1] is False


def test_first_try_that_was_overtaken_still_gets_its_job(ask, organization, monkeypatch):
    """Another first try of the same recording discards the claim while this one is probed."""

    real = idempotency.claim

    def claim_and_lose(*args, **fields):
        made = real(*args, **fields)
        IdempotencyRecord.objects.all().delete()
        return made

    monkeypatch.setattr(idempotency, "claim", claim_and_lose)
    job, is_replay = ask(**FIRST)
    assert (Job.objects.get(), is_replay) == (job, False)


def sweep(*, seconds=0):
    return joining.cancel_abandoned(now=timezone.now() + timedelta(seconds=seconds))


def kill_processes():
    """Remove the heartbeats of all processes."""
    with Redis.from_url(settings.REDIS_URL) as client:
        client.delete(*client.keys("voxsite:waiting-process:*"))


def test_clock_knows_of_a_job_before_it_is_stored(organization, api_key):
    """A process that is killed right after the commit leaves no job that nobody waits for."""
    listed = []
    submission = make_submission(
        organization, api_key=api_key, in_transaction=lambda job: listed.append(job.pk in waiters.listed())
    )
    joining.find_or_submit(Call(submission=submission, upload=SimpleUploadedFile("a.wav", CONTENT), fingerprint=MARK))
    assert listed == [True]


def test_job_whose_web_process_was_killed_is_canceled_and_costs_nothing(ask, organization):
    before = statements.balance(organization).available_micros
    killed, _ = ask()
    assert sweep() == sweep(seconds=3600) == 0
    kill_processes()
    assert sweep() == 0
    assert sweep(seconds=29) == 0
    assert sweep(seconds=31) == 1
    killed.refresh_from_db()
    assert (killed.status, killed.cost_micros or 0) == (Status.CANCELED, 0)
    assert statements.balance(organization).available_micros == before
    assert waiters.listed() == [killed.pk]
    assert sweep() == 0
    assert waiters.listed() == []


def test_retry_after_the_process_was_killed_keeps_the_job(ask):
    killed, _ = ask(key="k")
    kill_processes()
    assert sweep() == 0
    assert ask(key="k") == (killed, True)
    assert sweep(seconds=3600) == 0
    killed.refresh_from_db()
    assert killed.status == Status.QUEUED


def test_job_that_its_process_could_not_cancel_is_canceled_by_the_clock(ask):
    """The database failed when the grace was over, or the process stopped within it."""
    left, _ = ask()
    waiters.leave(left.pk, name=ask.waiter)
    assert sweep() == 0
    assert sweep(seconds=31) == 1


def test_sweep_leaves_jobs_alone_that_ended_or_were_not_waited_for(ask, organization):
    ended, _ = ask()
    finish(ended)
    deleted, _ = ask()
    jobs.delete(deleted)
    other = make_job(organization)
    kill_processes()
    assert sweep() == sweep(seconds=3600) == 0
    assert waiters.listed() == []
    assert Job.objects.get(pk=ended.pk).status == Status.COMPLETED
    assert Job.objects.get(pk=other.pk).status == other.status


def test_sweep_goes_on_after_a_job_that_cannot_be_canceled(ask, monkeypatch):
    broken, _ = ask()
    other, _ = ask()
    kill_processes()
    sweep()
    really = jobs.cancel

    def cancel(job):
        if job.pk == broken.pk:
            raise OperationalError
        return really(job)

    monkeypatch.setattr(jobs, "cancel", cancel)
    assert sweep(seconds=31) == 1
    assert set(Job.objects.filter(status=Status.CANCELED)) == {other}
    monkeypatch.undo()
    assert sweep(seconds=36) == 1
