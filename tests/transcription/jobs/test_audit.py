"""A hold whose job has ended is found: the money would be set aside for good. So is text that nobody paid for."""

import uuid

import pytest

from accounts.models import Organization
from billing import ledger
from tests.transcription.factories import make_job
from transcription import jobs
from transcription.jobs import audit
from transcription.models import Job


def test_hold_of_a_running_job_is_right_and_of_an_ended_one_is_not(api, organization: Organization) -> None:
    api.transcribe()
    job = Job.objects.get()
    assert list(audit.orphaned_holds()) == []
    Job.objects.filter(pk=job.pk).update(status="failed", items_left=0, items_failed=1, finished_at=job.created_at)
    assert [sentence.split(", but ")[1] for sentence in audit.orphaned_holds()] == [
        f"job:{job.pk} has ended or does not exist."
    ]
    assert list(ledger.faults()) == list(audit.orphaned_holds())


def test_hold_without_a_job_is_found_and_other_work_is_not_asked_about(organization: Organization) -> None:
    for reference in (f"job:{uuid.uuid4()}", "job:1", "chat:1"):
        ledger.reserve(organization, amount_micros=1, reference=reference)
    assert len(list(audit.orphaned_holds())) == 2


def test_canceled_job_leaves_none(api) -> None:
    api.transcribe()
    jobs.cancel(Job.objects.get())
    assert list(audit.orphaned_holds()) == []


def canceled_after_it_was_shown(organization: Organization) -> Job:
    job = make_job(organization)
    item = jobs.claim(job.items.get().pk)
    assert item is not None
    assert jobs.record_shown(item.pk, length_ms=5_000, price_micros=417)
    return jobs.cancel(job)


def test_text_that_was_shown_and_charged_is_right(organization: Organization) -> None:
    canceled_after_it_was_shown(organization)
    assert list(audit.unpaid_texts()) == []


@pytest.mark.long
@pytest.mark.parametrize("wrong", [{"cost_micros": None}, {"cost_micros": 416}])
def test_job_that_says_another_cost_than_its_text_is_found(organization: Organization, wrong: dict[str, None]) -> None:
    right = canceled_after_it_was_shown(organization)
    job = canceled_after_it_was_shown(organization)
    Job.objects.filter(pk=job.pk).update(**wrong)
    (sentence,) = audit.unpaid_texts()
    assert str(job.pk) in sentence
    assert str(right.pk) not in sentence
    assert list(ledger.faults()) == [sentence]


def test_text_whose_hold_was_released_is_found(organization: Organization) -> None:
    job = make_job(organization)
    jobs.cancel(job)
    job.items.update(shown_micros=417, cost_micros=417)
    (sentence,) = audit.unpaid_texts()
    assert f"Job {job.pk} was charged 0 and says None" in sentence
    assert "cost 417" in sentence


def test_many_jobs_are_all_looked_at(organization: Organization) -> None:
    for _ in range(5):
        canceled_after_it_was_shown(organization)
    Job.objects.update(cost_micros=1)
    assert len(list(audit.unpaid_texts(batch_size=2))) == 5
