"""A hold whose job has ended is found: the money would be set aside for good."""

import uuid

from accounts.models import Organization
from billing import ledger
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
