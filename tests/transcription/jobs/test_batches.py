"""Jobs of many items: one hold, one charge, work that grows with the items and not with their square."""

from contextlib import contextmanager

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models.signals import post_init

from accounts.errors import PaymentRequired
from billing import ledger, statements
from billing.models import Entry, EntryKind, Hold
from tests.contention import contend
from tests.fixtures import recordings as samples
from tests.transcription.factories import make_batch, make_media, make_submission, make_transcript
from tests.transcription.jobs import claim_together, finish_together
from tests.transcription.jobs.single_jobs import TEN_SECONDS_MICROS, usage
from transcription import jobs
from transcription.jobs import OF_THE_REQUEST, Source, queue
from transcription.jobs.submission import options_of
from transcription.models import Job, JobItem, Media, Priority, Status, Upload
from transcription.recordings import uploads


def finish(item, text="hello"):
    claimed = jobs.claim(item.pk)
    assert jobs.finish_item(claimed, transcript=make_transcript(text))


def fail(item):
    jobs.reject_item(jobs.claim(item.pk), error_type="not_audio", message="No audio.")


def assert_books_are_true(organization):
    assert ledger.verify(ledger.wallet_of(organization)) == []


@contextmanager
def counted_work():
    """Count the queries, and the rows of jobs, items and recordings that become objects of this process."""
    counts = {"queries": 0, "rows": 0}

    def count_row(sender, **_):
        counts["rows"] += sender in {Job, JobItem, Media, Upload}

    def count_query(execute, *args):
        counts["queries"] += 1
        return execute(*args)

    post_init.connect(count_row)
    try:
        with connection.execute_wrapper(count_query):
            yield counts
    finally:
        post_init.disconnect(count_row)


def test_batch_is_one_hold_and_one_charge(organization):
    job = make_batch(organization, 3)
    assert (job.item_count, job.items_left, job.duration_ms) == (3, 3, 30_000)
    assert statements.balance(organization).held_micros == 3 * TEN_SECONDS_MICROS
    for item in job.items.all():
        finish(item)
    job.refresh_from_db()
    assert (job.status, job.items_left, job.cost_micros) == (Status.COMPLETED, 0, 3 * TEN_SECONDS_MICROS)
    (entry,) = usage(organization)
    assert entry.amount_micros == -3 * TEN_SECONDS_MICROS
    assert statements.balance(organization).held_micros == 0
    assert_books_are_true(organization)


@pytest.mark.long
def test_batch_that_is_not_covered_leaves_no_row(organization):
    with pytest.raises(PaymentRequired):
        make_batch(organization, 1 + 1_000_000 // TEN_SECONDS_MICROS)
    assert not Job.objects.exists()
    assert not JobItem.objects.exists()
    assert not Hold.objects.exists()


def test_ghost_of_an_ended_item_counts_nothing(organization):
    job = make_batch(organization, 2)
    ghost = jobs.claim(job.items.first().pk)
    jobs.cancel(job)
    assert not jobs.finish_item(ghost, transcript=make_transcript())
    job.refresh_from_db()
    assert (job.items_left, job.status) == (0, Status.CANCELED)


@pytest.mark.slow
def test_end_of_a_batch_is_linear_work(organization):
    """Ten times the items are ten times the work: each end reads the same few rows, however many items there are."""
    work = {}
    for count in (50, 500):
        job = make_batch(organization, count)
        items = [jobs.claim(item.pk) for item in job.items.all()]
        with counted_work() as counts:
            for item in items:
                jobs.finish_item(item, transcript=make_transcript())
        work[count] = counts
        job.refresh_from_db()
        assert job.status == Status.COMPLETED
    for kind in ("queries", "rows"):
        per_item = {count: counts[kind] / count for count, counts in work.items()}
        assert per_item[500] <= per_item[50], work


@pytest.mark.long
def test_verification_of_a_batch_is_linear_work(organization):
    """Of files that come one by one, and are held and queued when the last one is known."""
    sentence = samples.named("sentence-slt.wav").path
    size_bytes = sentence.stat().st_size
    work = {}
    for count in (5, 50):
        sources = [Source(reference=str(number), declared_bytes=size_bytes) for number in range(count)]
        job = jobs.submit_sources(make_submission(organization), sources=sources)
        items = list(job.items.select_related("upload__organization"))
        for item in items:
            uploads.receive(item.upload, path=sentence)
        with counted_work() as counts:
            for item in items:
                jobs.bytes_have_come(item.upload)
                jobs.verify_item(item.pk)
        work[count] = counts
        job.refresh_from_db()
        assert job.status == Status.QUEUED
    for kind in ("queries", "rows"):
        per_item = {count: counts[kind] / count for count, counts in work.items()}
        assert per_item[50] <= per_item[5], work


@pytest.mark.long
def test_delete_asks_once_for_all_recordings(organization):
    work = {}
    for count in (5, 50):
        job = make_batch(organization, count)
        for item in job.items.all():
            finish(item)
        job.refresh_from_db()
        with counted_work() as counts:
            jobs.delete(job)
        work[count] = counts["queries"]
    assert work[50] == work[5]
    assert not Media.objects.exists()


def test_delete_keeps_recordings_that_another_job_needs(organization, django_capture_on_commit_callbacks):
    shared, own = make_media(organization), make_media(organization)
    job, _other = (
        jobs.submit_batch(
            make_submission(organization),
            recordings=recordings,
            name="calls",
        )
        for recordings in ([shared, own], [shared])
    )
    with django_capture_on_commit_callbacks(execute=True):
        jobs.delete(job)
    assert list(Media.objects.all()) == [shared]
    assert default_storage.exists(shared.storage_key)
    assert not default_storage.exists(own.storage_key)


def test_batch_waits_behind_single_recordings(organization, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = make_batch(organization, 3)
    assert job.priority == Priority.BULK
    assert queue.waiting_task_ids("bulk") == [queue.task_id(item) for item in job.items.all()]


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_items_that_finish_at_the_same_moment_end_the_job_once(organization):
    job = make_batch(organization, 8)
    items = [jobs.claim(item.pk) for item in job.items.all()]
    assert sum(contend(finish_together.finish, [item.pk for item in items], kind="processes")) == 8
    job.refresh_from_db()
    assert (job.status, job.items_left, job.cost_micros) == (Status.COMPLETED, 0, 8 * TEN_SECONDS_MICROS)
    assert Entry.objects.of(organization).filter(kind=EntryKind.USAGE).count() == 1
    assert ledger.verify(ledger.wallet_of(organization)) == []


@pytest.mark.django_db(transaction=True)
def test_items_that_are_claimed_while_the_batch_is_canceled_have_one_worker_and_one_end(organization):
    job = make_batch(organization, 40)
    first, *others = [item.pk for item in job.items.all()]
    jobs.claim(first)  # the job runs: no other claim needs its lock
    found = contend(claim_together.claim_or_cancel, job.pk, others, kind="threads", worker_count=4)
    claimed = [pk for pks in found for pk in pks]
    assert len(claimed) == len(set(claimed))
    job.refresh_from_db()
    assert (job.status, job.items_left) == (Status.CANCELED, 0)
    assert not job.items.exclude(status=Status.CANCELED).exists()
    assert {item.pk for item in job.items.filter(attempt=1)} == {first, *claimed}
    assert_books_are_true(organization)


def test_claim_of_all_items_but_the_first_is_two_statements(organization, django_assert_num_queries):
    first, second = make_batch(organization, 2).items.all()
    jobs.claim(first.pk)
    with django_assert_num_queries(2):
        item = jobs.claim(second.pk)
    stored = JobItem.objects.get(pk=second.pk)
    for name in ("status", "attempt", "touched_at", "progress"):
        assert getattr(item, name) == getattr(stored, name), name
    assert (stored.status, stored.attempt) == (Status.PROCESSING, 1)


def test_batch_that_is_run_again_keeps_the_reference_and_language_of_each_file(organization):
    sources = [
        Source(reference="a", stored=make_media(organization), language="de"),
        Source(reference="b", stored=make_media(organization)),
        Source(reference="c", stored=make_media(organization), language="auto"),
    ]
    kept = {"excluded": ["vtt"], f"{OF_THE_REQUEST}sha256": "0" * 64}
    first = jobs.submit_sources(make_submission(organization, answer_options=kept), sources=sources, name="three")
    finish(first.items.get(reference="b"))
    jobs.cancel(first)
    again = jobs.run_again(first)
    shown = [(item.position, item.reference, item.requested_language, item.media) for item in again.items.all()]
    assert shown == [(0, "a", "de", sources[0].stored), (1, "c", "auto", sources[2].stored)]
    assert (again.status, again.answer_options) == (Status.QUEUED, {"excluded": ["vtt"]})
    assert [options_of(item).language for item in again.items.all()] == ["de", None]
