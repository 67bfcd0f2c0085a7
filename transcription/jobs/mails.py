"""Mails to the person who uploaded a recording: its transcript is ready, or there will be none.

They are written in the transaction that ends the job, and the clock sends them (`accounts.mail_queue`).
"""

from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage

from accounts import mail_queue
from accounts.links import page_url
from accounts.models import ReadyMail, User
from transcription.models import Job, Status

# Whoever waits longer has left the page.
LONG_WAIT = timedelta(minutes=10)


def put(job: Job) -> None:
    """Have its uploader told of the end of a job, if they want that. Runs in the transaction that ends it.

    Of jobs of programs nobody is told, and of canceled ones nobody needs to be.
    """
    if job.created_by_id is None or job.dialect != "pages" or job.status == Status.CANCELED:
        return
    members = User.objects.filter(is_active=True, memberships__organization=job.organization_id)
    person = members.filter(pk=job.created_by_id).first()
    if person is None:
        return
    is_failed = job.status == Status.FAILED
    if person.has_failed_mail if is_failed else _wants_ready_mail(person, job):
        subject, text = _about_failure(job) if is_failed else _about_result(job)
        page = f"{settings.SITE_URL}{page_url(job.organization_id, 'transcript', job.pk)}"
        act = "Open the job" if is_failed else "Open the transcript"
        choice = f"{settings.SITE_URL}/accounts/mails/"
        mail_queue.put(
            EmailMessage(
                # A name may contain line breaks, a subject may not.
                " ".join(subject.split()),
                f"{text}\n\n{act}:\n{page}\n\nChoose which mails you get: {choice}\n",
                to=[person.email],
                reply_to=[settings.SUPPORT_EMAIL],
            )
        )


def _wants_ready_mail(person: User, job: Job) -> bool:
    if person.ready_mail == ReadyMail.LONG:
        assert job.finished_at is not None, "the job has ended"
        return job.finished_at - job.created_at > LONG_WAIT
    return person.ready_mail == ReadyMail.ALWAYS


def _about_result(job: Job) -> tuple[str, str]:
    if job.status == Status.COMPLETED:
        what = "The transcript" if job.item_count == 1 else f"All {job.item_count:,} transcripts"
        return f"Ready: {job.name}", f"{what} of “{job.name}” {'is' if job.item_count == 1 else 'are'} ready."
    done = job.item_count - job.items_failed
    return f"Ready: {job.name}", f"{done:,} of {job.item_count:,} transcripts of “{job.name}” are ready."


def _about_failure(job: Job) -> tuple[str, str]:
    charge = "" if job.cost_micros else " Nothing was charged."
    return f"Not transcribed: {job.name}", f"“{job.name}” could not be transcribed. {job.error_message}{charge}"
