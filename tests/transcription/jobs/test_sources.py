"""Jobs of files that are still to come: what may be asked for, what becomes of each file, that no money is lost."""

import pytest
from django.core.files.storage import default_storage

from accounts.errors import Conflict, NotFound, PaymentRequired
from billing import ledger, statements
from billing.models import Entry
from tests.contention import contend
from tests.transcription.factories import make_media
from tests.transcription.jobs import complete_together
from tests.transcription.jobs.sources_sent import (
    SENTENCE,
    SIZE,
    URL,
    file_source,
    finish,
    held,
    nothing_was_made,
    receive,
    refusal_of,
    submit,
    verify,
)
from transcription import jobs
from transcription.jobs import Source, queue
from transcription.jobs.submission import options_of
from transcription.models import Import, Job, Media, Priority, Status, Upload
from transcription.recordings import imports, uploads


def test_files_urls_and_stored_recordings_are_one_job_in_their_order(organization, django_capture_on_commit_callbacks):
    media = make_media(organization)
    sources = [
        file_source("a", language="de"),
        Source(reference="b", url=URL),
        Source(reference="c", stored=media, name="ignored"),
        Source(name="unknown.mp3"),
    ]
    with django_capture_on_commit_callbacks(execute=True):
        job = submit(organization, sources)
    assert (job.status, job.item_count, job.items_left, job.items_unverified) == (Status.UPLOADING, 4, 4, 3)
    assert (job.priority, job.quoted_micros, held(organization)) == (Priority.BULK, None, 0)
    items = list(job.items.all())
    assert [(item.reference, item.name) for item in items] == [
        ("a", "call.wav"),
        ("b", "talk.mp3"),
        ("c", "sentence-slt.wav"),
        ("", "unknown.mp3"),
    ]
    assert [item.status for item in items] == ["uploading", "uploading", "verifying", "uploading"]
    assert Import.objects.get().upload == items[1].upload
    assert queue.waiting_task_ids("imports")
    assert options_of(items[0]).language == "de"


def test_one_file_waits_as_a_single_recording(organization):
    assert submit(organization, [file_source()]).priority == Priority.STANDARD


def test_batch_is_held_once_when_the_last_file_is_known(organization):
    job = submit(organization, [file_source("a"), file_source("b")])
    first, second = job.items.all()
    receive(first)
    verify(job)
    assert (job.status, job.items_unverified, job.received_bytes, held(organization)) == (Status.VERIFYING, 1, SIZE, 0)
    receive(second)
    verify(job)
    assert (job.status, job.received_bytes) == (Status.QUEUED, 2 * SIZE)
    assert held(organization) == job.quoted_micros > 0
    finish(job)
    assert (job.status, job.cost_micros, held(organization)) == (Status.COMPLETED, job.quoted_micros, 0)
    assert Entry.objects.filter(reference=job.hold_reference).count() == 1


def test_recordings_that_were_all_sent_before_are_held_and_queued_at_once(
    organization, django_capture_on_commit_callbacks
):
    media = [make_media(organization), make_media(organization)]
    with django_capture_on_commit_callbacks(execute=True):
        job = submit(organization, [Source(reference=str(n), stored=one) for n, one in enumerate(media)])
    assert (job.status, job.duration_ms) == (Status.QUEUED, 20_000)
    assert held(organization) == job.quoted_micros > 0
    assert len(queue.waiting_task_ids("bulk")) == 2


def test_upload_that_was_received_before_is_verified_at_once(organization, django_capture_on_commit_callbacks):
    upload = uploads.begin(organization, name="call.wav", declared_bytes=SIZE)
    uploads.receive(upload, path=SENTENCE.path)
    with django_capture_on_commit_callbacks(execute=True):
        job = submit(organization, [Source(stored=upload), file_source()])
    assert job.status == Status.VERIFYING
    assert [item.status for item in job.items.all()] == ["verifying", "uploading"]
    assert len(queue.waiting_task_ids("bulk")) == 1
    verify(job)
    assert job.items_unverified == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("sources", "refusal"),
    [
        ([], ("invalid_field", "files")),
        ([file_source("a"), file_source("b"), file_source("a")], ("invalid_field", "files[2].reference")),
        ([file_source(), file_source("a" * 256)], ("invalid_field", "files[1].reference")),
        ([file_source(), Source(url=URL, declared_bytes=SIZE)], ("invalid_field", "files[1].url")),
        ([file_source(), Source(url="http://169.254.169.254/")], ("invalid_field", "files[1].url")),
        ([file_source(), Source(url="talk.mp3")], ("invalid_field", "files[1].url")),
        ([file_source(declared_bytes=0)], ("invalid_field", "files[0].size")),
        ([file_source(declared_bytes=-1)], ("invalid_field", "files[0].size")),
        ([file_source(declared_bytes=10**11)], ("batch_too_large", "files")),
        (
            [file_source(declared_bytes=5 * 10**9), file_source(declared_bytes=5 * 10**9 + 1)],
            ("batch_too_large", "files"),
        ),
        ([file_source()] * 10_001, ("too_many_files", "files")),
    ],
)
def test_sources_that_cannot_be_a_job_are_refused_and_leave_nothing(organization, sources, refusal):
    assert refusal_of(organization, sources) == refusal


def test_ten_gigabytes_are_accepted(organization):
    job = submit(organization, [file_source(declared_bytes=5 * 10**9), file_source(declared_bytes=5 * 10**9)])
    assert job.status == Status.UPLOADING


def test_file_without_a_reference_does_not_clash_with_another(organization):
    assert submit(organization, [file_source(), file_source()]).item_count == 2


def test_the_same_reference_serves_in_another_job(organization):
    assert submit(organization, [file_source("a")]).pk != submit(organization, [file_source("a")]).pk


def test_the_strangers_recordings_cannot_be_ordered(organization, charlies):
    upload = uploads.begin(organization, name="call.wav", declared_bytes=SIZE)
    for stored in (make_media(organization), upload):
        with pytest.raises(AssertionError, match="reached by organization"):
            submit(charlies, [Source(stored=stored)])
    assert not Job.objects.exists()


def test_recording_that_was_deleted_meanwhile_leaves_nothing(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).delete()
    with pytest.raises(NotFound):
        submit(organization, [file_source(), Source(stored=media)])
    assert nothing_was_made()


def test_organization_without_money_is_refused_before_anything_is_stored(organization):
    ledger.reserve(organization, amount_micros=statements.balance(organization).available_micros, reference="all")
    with pytest.raises(PaymentRequired):
        submit(organization, [file_source()])
    assert not Upload.objects.exists()


def test_urls_are_waited_for_when_all_files_were_sent(organization):
    job = submit(organization, [file_source("a"), Source(url=URL)])
    receive(job.items.first())
    assert jobs.uploads_completed(job) == 0
    verify(job)
    assert (job.status, job.items_unverified) == (Status.VERIFYING, 1)
    source = imports.claim_next()
    assert source.upload == job.items.last().upload


def test_word_that_all_files_were_sent_may_be_repeated_until_the_job_is_queued(organization):
    job = submit(organization, [file_source("a")])
    receive(job.items.get())
    assert [jobs.uploads_completed(job) for _ in range(2)] == [0, 0]
    verify(job)
    with pytest.raises(Conflict) as caught:
        jobs.uploads_completed(job)
    assert caught.value.type == "invalid_job_status"


def test_short_recording_may_be_completed_before_the_customer_says_that_it_was_sent(organization):
    job = submit(organization, [file_source("a")])
    receive(job.items.get())
    verify(job)
    finish(job)
    assert jobs.uploads_completed(job) == 0
    with pytest.raises(Conflict):
        jobs.uploads_completed(job)


def test_there_is_nothing_to_complete_in_a_job_of_stored_recordings(organization):
    job = submit(organization, [Source(stored=make_media(organization))])
    with pytest.raises(Conflict):
        jobs.uploads_completed(job)


def test_deleted_job_cannot_be_completed(organization):
    job = submit(organization, [file_source("a")])
    jobs.delete(Job.objects.get(pk=job.pk))
    with pytest.raises(Conflict):
        jobs.uploads_completed(job)
    assert nothing_was_made()


@pytest.mark.django_db(transaction=True)
def test_file_that_is_received_by_many_at_once_is_stored_once(organization):
    job = submit(organization, [file_source("a"), file_source("b")])
    item = job.items.first()
    told = contend(complete_together.receive, item.upload_id, SENTENCE.path, kind="processes")
    assert sorted(told) == ["", *["upload_already_received"] * 7]
    verify(job)
    assert (job.items_unverified, job.received_bytes) == (1, SIZE)
    assert Media.objects.count() == 1


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_word_that_all_files_were_sent_counts_once_if_it_comes_many_times_at_once(organization):
    job = submit(organization, [file_source("a"), file_source("b"), file_source("c")])
    receive(job.items.first())
    assert sum(contend(complete_together.complete, job.pk, kind="processes")) == 2
    verify(job)
    assert (job.items_left, job.items_failed, job.items_unverified) == (1, 2, 0)
    finish(job)
    assert job.status == Status.COMPLETED_WITH_ERRORS
    assert ledger.verify(ledger.wallet_of(organization)) == []


@pytest.mark.django_db(transaction=True)
def test_file_that_comes_at_the_moment_of_that_word_is_either_there_or_missing(organization):
    job = submit(organization, [file_source("a"), file_source("b")])
    receive(job.items.first())
    late = job.items.last()
    told = contend(complete_together.receive_or_complete, job.pk, late.upload_id, SENTENCE.path, kind="processes")
    verify(job)
    late.refresh_from_db()
    late.upload.refresh_from_db()
    came = "" in told
    assert came is (late.media is not None)
    assert came is (late.error_type != "upload_missing")
    assert (job.status, job.items_unverified, job.items_failed) == (Status.QUEUED, 0, 0 if came else 1)
    assert default_storage.exists(late.upload.storage_key) is came
