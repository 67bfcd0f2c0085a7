"""What becomes of jobs, recordings and webhooks when an organization is closed, and when it is deleted."""

import time

from accounts.closures import Part
from accounts.errors import Conflict
from accounts.models import Organization
from transcription import jobs
from transcription.models import FINAL_STATUSES, Delivery, Job, WebhookEndpoint
from transcription.recordings import clearing
from transcription.webhooks import delivery

DELETE_BATCH_SIZE = 500
# Jobs whose ids one query reads.
JOB_BATCH_SIZE = 100


def close(organization: Organization) -> None:
    """Send no webhook any more. `webhooks.outbox` writes down none for a closed organization."""
    delivery.give_up_all(organization)


def end_work(organization: Organization, *, ends_at: float) -> None:
    """Cancel jobs, and end uploads and imports whose bytes have not come.

    As with any cancellation, what had completed or was shown is charged, and nothing else.
    """
    failures: list[Exception] = []
    for job in Job.objects.of(organization).exclude(status__in=FINAL_STATUSES).order_by("pk"):
        try:
            jobs.cancel(job)
        except Conflict:
            pass  # It has just ended.
        except Exception as error:  # noqa: BLE001 - raised below: one broken row must not keep all others
            failures.append(error)
        if time.monotonic() >= ends_at:
            break
    else:
        clearing.end_waiting(organization, ends_at=ends_at)
        delivery.give_up_all(organization)
    if failures:
        raise ExceptionGroup("jobs that go on", failures)


def delete(organization: Organization, *, ends_at: float) -> bool:
    """Delete jobs with all that they have, recordings, uploads, files and webhooks. Returns whether nothing is left."""
    while batch := list(Job.objects.of(organization).order_by("pk")[:JOB_BATCH_SIZE]):
        for job in batch:
            jobs.delete(job)
            if time.monotonic() >= ends_at:
                return False
    deliveries = Delivery.objects.of(organization)
    while ids := list(deliveries.values_list("pk", flat=True)[:DELETE_BATCH_SIZE]):
        Delivery.objects.filter(pk__in=ids).delete()
        if time.monotonic() >= ends_at:
            return False
    WebhookEndpoint.objects.filter(organization=organization).delete()
    return clearing.delete_all(organization, ends_at=ends_at)


PART = Part(name="transcription", close=close, end_work=end_work, delete=delete)
