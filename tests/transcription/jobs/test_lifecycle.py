from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.errors import Conflict, PaymentRequired
from billing import ledger, statements
from billing.models import Entry, Hold
from tests.transcription.factories import make_job, make_media, make_submission, make_transcript
from tests.transcription.jobs.single_jobs import TEN_SECONDS_MICROS, claim, grow_silent, item_of, usage
from transcription import jobs
from transcription.models import Job, Media, Status


def assert_books_are_true(organization):
    assert ledger.verify(ledger.wallet_of(organization)) == []


def test_submit_promises_the_price(organization, job):
    assert job.status == Status.QUEUED
    assert job.quoted_micros == TEN_SECONDS_MICROS
    assert statements.balance(organization).held_micros == TEN_SECONDS_MICROS
    assert usage(organization) == []


def test_job_keeps_the_name_that_decides_the_price_and_the_model_that_recognises(organization, job):
    assert (job.model, job.recognising_model) == ("standard", "standard")
    named = make_job(organization, model="whisper-1")
    named.refresh_from_db()
    assert (named.model, named.recognising_model) == ("whisper-1", "standard")
    # 10 s at 360,000 micro-dollars an hour.
    assert (named.rate_micros, named.quoted_micros) == (360_000, 1000)
    jobs.finish_item(claim(named), transcript=make_transcript())
    assert usage(organization)[-1].details["model"] == "whisper-1"


def test_submit_without_money_leaves_no_job_and_no_hold(organization):
    # An hour of the premium model is 60 cents; the sign-up credit is one dollar.
    media = make_media(organization, duration_ms=2 * 3600 * 1000)
    with pytest.raises(PaymentRequired) as caught:
        jobs.submit(make_submission(organization, model="premium"), media=media)
    assert caught.value.data["required_cents"] == 120
    assert caught.value.data["available_cents"] == 100
    assert not Job.objects.exists()
    assert not Hold.objects.exists()


def test_finished_job_is_charged_once_and_has_its_result(organization, job):
    item = claim(job)
    assert jobs.finish_item(item, transcript=make_transcript("hello world"))
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert job.cost_micros == TEN_SECONDS_MICROS
    assert [entry.amount_micros for entry in usage(organization)] == [-TEN_SECONDS_MICROS]
    assert statements.balance(organization).held_micros == 0
    assert jobs.transcript_of(job).text == "hello world"
    assert_books_are_true(organization)


def test_second_claim_gets_nothing(job):
    claim(job)
    assert jobs.claim(item_of(job).pk) is None


def test_claim_of_an_unknown_item_gets_nothing(job):
    assert jobs.claim(job.pk) is None


def test_second_finish_changes_nothing(organization, job):
    item = claim(job)
    jobs.finish_item(item, transcript=make_transcript("first"))
    assert not jobs.finish_item(item, transcript=make_transcript("second"))
    job.refresh_from_db()
    assert jobs.transcript_of(job).text == "first"
    assert len(usage(organization)) == 1


def test_ghost_of_an_older_attempt_is_fenced_out(organization, job):
    ghost = claim(job)
    grow_silent(ghost)
    assert jobs.reconcile(now=timezone.now()) == 1
    owner = claim(job)
    assert owner.attempt == ghost.attempt + 1
    with pytest.raises(jobs.Superseded):
        jobs.touch(ghost)
    assert not jobs.finish_item(ghost, transcript=make_transcript("ghost"))
    jobs.reject_item(ghost, error_type="ghost", message="ghost")
    assert jobs.finish_item(owner, transcript=make_transcript("owner"))
    job.refresh_from_db()
    assert jobs.transcript_of(job).text == "owner"
    assert len(usage(organization)) == 1
    _, files = default_storage.listdir(f"results/{organization.pk}/{job.pk}")
    assert len(files) == 1


def test_failure_that_may_pass_is_tried_again_and_then_final(organization, job, settings):
    for attempt in range(1, settings.JOB_ATTEMPTS + 1):
        item = claim(job)
        assert item.attempt == attempt
        jobs.fail_item(item, error_type="engine_unavailable", message="No engine.")
    job.refresh_from_db()
    assert (job.status, job.error_type, job.error_message) == (Status.FAILED, "engine_unavailable", "No engine.")
    assert_books_are_true(organization)
    assert statements.balance(organization).held_micros == 0


def test_fault_of_the_audio_is_not_tried_again(organization, job):
    jobs.reject_item(claim(job), error_type="not_audio", message="Not audio.")
    job.refresh_from_db()
    assert job.status == Status.FAILED
    assert usage(organization) == []


def test_canceled_job_costs_nothing_and_stops_its_worker(organization, job):
    item = claim(job)
    jobs.cancel(job)
    assert job.status == Status.CANCELED
    with pytest.raises(jobs.Superseded):
        jobs.touch(item)
    assert not jobs.finish_item(item, transcript=make_transcript())
    assert usage(organization) == []
    assert statements.balance(organization).held_micros == 0
    with pytest.raises(Conflict):
        jobs.cancel(job)


def test_deleted_job_leaves_only_its_ledger_line(organization, job, django_capture_on_commit_callbacks):
    jobs.finish_item(claim(job), transcript=make_transcript())
    media = Media.objects.get()
    result_key = item_of(job).result_key
    with django_capture_on_commit_callbacks(execute=True):
        jobs.delete(job)
    assert not Job.objects.exists()
    assert not Media.objects.exists()
    assert not default_storage.exists(media.storage_key)
    assert not default_storage.exists(result_key)
    assert not Path(default_storage.path(result_key)).parent.exists()
    [entry] = usage(organization)
    assert media.name not in str(Entry.objects.filter(pk=entry.pk).values())


def test_folder_of_a_deleted_job_stays_while_something_else_is_in_it(job, django_capture_on_commit_callbacks):
    """A worker of before may just have written there. It removes its file itself."""
    jobs.finish_item(claim(job), transcript=make_transcript())
    other = Path(default_storage.path(item_of(job).result_key)).with_name("other.json")
    other.write_text("{}")
    with django_capture_on_commit_callbacks(execute=True):
        jobs.delete(job)
    assert [path.name for path in other.parent.iterdir()] == ["other.json"]


def test_job_deleted_while_it_runs_is_canceled_first(organization, job, django_capture_on_commit_callbacks):
    item = claim(job)
    with django_capture_on_commit_callbacks(execute=True):
        jobs.delete(job)
    assert not jobs.finish_item(item, transcript=make_transcript())
    assert not Path(default_storage.path(f"results/{organization.pk}/{item.job_id}")).exists()
    assert statements.balance(organization).held_micros == 0
    assert usage(organization) == []


@pytest.mark.django_db(transaction=True)
def test_result_survives_a_commit_of_unknown_outcome(job, monkeypatch):
    item = claim(job)
    commit = connection.commit

    def break_after_commit():
        commit()
        raise OperationalError("the connection broke after COMMIT was sent")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "commit", break_after_commit)
        with pytest.raises(OperationalError, match="after COMMIT"):
            jobs.finish_item(item, transcript=make_transcript("kept"))
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert jobs.transcript_of(job).text == "kept"


def test_job_that_somebody_else_deleted_is_deleted(job):
    twin = Job.objects.get(pk=job.pk)
    jobs.delete(job)
    jobs.delete(twin)
    assert not Job.objects.exists()


def test_failed_charge_keeps_neither_result_nor_completion(organization, job):
    """A crash of the database between result and charge must not give the work away."""
    item = claim(job)

    def crash_at_the_charge(execute, sql, *args):
        if 'FROM "billing_hold"' in sql:
            raise OperationalError("the connection broke")
        return execute(sql, *args)

    with (
        connection.execute_wrapper(crash_at_the_charge),
        pytest.raises(OperationalError, match="the connection broke"),
    ):
        jobs.finish_item(item, transcript=make_transcript())
    item.refresh_from_db()
    assert item.status == Status.PROCESSING
    assert default_storage.listdir(f"results/{organization.pk}/{job.pk}")[1] == []
    assert jobs.finish_item(item, transcript=make_transcript())
