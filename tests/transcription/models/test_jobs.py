"""What must never be false of jobs and items, whatever code writes, and the questions about one row."""

import uuid

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.transcription.factories import make_batch, make_job
from transcription import jobs
from transcription.models import FINAL_STATUSES, Job, JobItem, Status
from transcription.recordings import uploads

NOW = timezone.now()
ENDED = {"items_left": 0, "finished_at": NOW}


@pytest.fixture
def job(organization):
    return make_job(organization)


def write(row, **fields):
    """Write past the verbs."""
    with transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": Status.COMPLETED, "cost_micros": 1, **ENDED},
        {"status": Status.FAILED, **ENDED},
        {"status": Status.UPLOADING, "quoted_micros": None},
    ],
)
def test_job_in_order_is_written(job, fields):
    write(job, **fields)


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"status": "lost"}, "job_status_is_known"),
        ({"progress": 101}, "job_progress_is_a_percentage"),
        ({"items_left": 2}, "job_items_add_up"),
        ({"items_failed": 1}, "job_items_add_up"),
        ({"quoted_micros": None}, "job_is_priced_before_it_is_queued"),
        ({"status": Status.PROCESSING, "quoted_micros": None}, "job_is_priced_before_it_is_queued"),
        ({"status": Status.COMPLETED, "finished_at": NOW}, "final_job_has_no_items_left"),
        ({"status": Status.CANCELED, "items_left": 0}, "final_job_has_finished"),
    ],
)
def test_job_that_contradicts_itself_is_refused_by_the_database(job, fields, constraint):
    with pytest.raises(IntegrityError, match=constraint):
        write(job, **fields)


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"status": Status.COMPLETED, "cost_micros": 1}, "completed_item_has_result"),
        ({"status": Status.COMPLETED, "result_key": "results/1"}, "completed_item_has_a_cost"),
        ({"shown_ms": -1}, "shown_text_is_not_negative"),
        ({"shown_micros": -1}, "shown_text_is_not_negative"),
        ({"status": Status.CANCELED, "cost_micros": 1}, "canceled_item_costs_what_was_shown"),
        ({"status": Status.CANCELED, "shown_micros": 2}, "canceled_item_costs_what_was_shown"),
        ({"status": Status.CANCELED, "shown_micros": 2, "cost_micros": 1}, "canceled_item_costs_what_was_shown"),
        ({"status": Status.FAILED, "cost_micros": 1}, "failed_item_costs_nothing_or_what_was_shown"),
        ({"status": Status.FAILED, "shown_micros": 2, "cost_micros": 1}, "failed_item_costs_nothing_or_what_was_shown"),
        ({"media": None}, "item_has_media_before_it_is_queued"),
        ({"media": None, "status": Status.PROCESSING}, "item_has_media_before_it_is_queued"),
    ],
)
def test_item_that_contradicts_itself_is_refused_by_the_database(job, fields, constraint):
    with pytest.raises(IntegrityError, match=constraint):
        write(job.items.get(), **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": Status.CANCELED},
        {"status": Status.CANCELED, "cost_micros": 0},
        {"status": Status.CANCELED, "shown_micros": 2, "cost_micros": 2},
        {"status": Status.FAILED, "shown_micros": 2},
        {"status": Status.FAILED, "shown_micros": 2, "cost_micros": 2},
        {"status": Status.COMPLETED, "result_key": "results/1", "shown_micros": 2, "cost_micros": 3},
    ],
)
def test_item_in_order_is_written(job, fields):
    write(job.items.get(), **fields)


def test_version_before_can_still_insert_items(job):
    """While a migration has run and old processes have not ended yet: they do not name the new columns."""
    item = job.items.get()
    columns = [field.column for field in JobItem._meta.fields if not field.name.startswith("shown_")]
    new_id = uuid.uuid4()
    with connection.cursor() as cursor:
        chosen = ["%s" if name in {"id", "position"} else name for name in columns]
        cursor.execute(
            f"INSERT INTO transcription_jobitem ({', '.join(columns)}) "
            f"SELECT {', '.join(chosen)} FROM transcription_jobitem",
            [new_id.hex if connection.vendor == "sqlite" else new_id, 1],
        )
    copy = job.items.exclude(pk=item.pk).get()
    assert (copy.shown_ms, copy.shown_micros) == (0, 0)


def test_positions_of_a_job_differ(organization):
    job = make_batch(organization, 2)
    with pytest.raises(IntegrityError):
        write(job.items.first(), position=1)


@pytest.mark.parametrize("status", Status)
def test_final_statuses_are_those_that_nothing_follows(status):
    is_final = status not in {Status.UPLOADING, Status.VERIFYING, Status.QUEUED, Status.PROCESSING}
    assert (status in FINAL_STATUSES) is is_final
    assert Job(status=status).is_final is JobItem(status=status).is_final is is_final
    assert Job(status=status).is_completed is (status in {Status.COMPLETED, Status.COMPLETED_WITH_ERRORS})


def test_jobs_are_reached_by_their_organization_newest_first(organization, charlies):
    first, second = make_job(organization), make_job(organization)
    theirs = make_job(charlies)
    assert list(Job.objects.of(organization).newest_first()) == [second, first]
    assert list(Job.objects.of(charlies)) == [theirs]


def test_item_has_the_name_of_its_file_before_and_after_it_came(organization, job):
    assert job.items.get().name == "sentence-slt.wav"
    upload = uploads.begin(organization, name="call.wav", declared_bytes=7)
    item = JobItem(job=job, upload=upload)
    assert item.name == "call.wav"
    with pytest.raises(AssertionError, match="has a recording"):
        _ = item.recording
    assert JobItem(job=job).name == ""


def test_reference_in_the_ledger_names_the_job(job):
    assert job.hold_reference == f"job:{job.pk}"
    assert jobs.claim(job.items.get().pk).job.hold_reference == job.hold_reference


@pytest.mark.parametrize("offset", [0, 1, 2, 9])
def test_page_is_a_part_of_the_list(organization, charlies, offset):
    made = [make_job(organization) for _ in range(4)]
    make_job(charlies)
    page = Job.objects.of(organization).page(offset=offset, limit=2)
    assert list(page) == made[::-1][offset : offset + 2]


def test_place_in_the_list_needs_no_job(organization):
    first, second, third = (make_job(organization) for _ in range(3))
    Job.objects.filter(pk__in=[first.pk, second.pk]).update(created_at=third.created_at)
    order = [job.pk for job in Job.objects.newest_first()]
    assert order == sorted((first.pk, second.pk, third.pk), reverse=True)
    place = {"created_at": third.created_at, "job_id": order[0]}
    jobs.delete(Job.objects.get(pk=order[0]))
    assert [job.pk for job in Job.objects.older_than(**place).newest_first()] == order[1:]
