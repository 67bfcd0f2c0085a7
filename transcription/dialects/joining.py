"""Which job answers a call that waits: a new one, or the one of an earlier call that this one repeats."""

import logging
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone

from accounts.batcher import Batcher
from accounts.error_types import ErrorType
from accounts.errors import Conflict
from accounts.gate import idempotency
from transcription import jobs, submissions
from transcription.dialects import departures
from transcription.jobs import Submission, waiters
from transcription.models import FINAL_STATUSES, Job, JobItem, Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that waits for the transcript of an upload, or of the file at a URL.

    mark: equal for equal calls, apart from what is in their recordings; "" where nobody can repeat one that was left.
    key: its Idempotency-Key as `idempotency.key_of` names it, "" for none. fingerprint: equal for equal requests; ""
    where nothing can repeat it. is_counted, is_retry: whether its client counts its tries, and whether this is a
    further one. Without a key, such a retry repeats the try before it. was_taken_over: its own job was undone, and with
    it the upload is gone. called_at: when it came, in seconds since the epoch.
    """

    submission: Submission
    upload: "UploadedFile[Any] | None" = None
    url: str = ""
    mark: str = ""
    key: str = ""
    fingerprint: str = ""
    is_counted: bool = False
    is_retry: bool = False
    was_taken_over: bool = False
    called_at: float = field(default_factory=time.time)

    @property
    def claimed_key(self) -> tuple[uuid.UUID, str]:
        """Where `idempotency` finds the request: (organization, key). Its key of tries if the client sent none."""
        return self.submission.organization.pk, self.key or _key_of_tries(self)


def find_or_submit(call: Call) -> tuple[Job, bool, str] | None:
    """Return (job, whether an earlier call submitted it, name to leave by), or None while one is about to submit it.

    Raises what `submissions.submit_file` and `submit_url` raise, and Conflict for a key that was used for another
    request or whose job was deleted. Raises idempotency.TakenOver for a call so slow that another one has its key: that
    one answers it, so look again with `was_taken_over`.
    """
    unanswered = None if call.key else _join_unanswered(call)
    if unanswered is not None:
        return unanswered
    if not call.key and not call.is_counted:
        return _awaited(call, _submit_recording(call, call.submission))
    organization, (_, key) = call.submission.organization, call.claimed_key
    if not call.key and not call.is_retry:
        # A first try repeats nothing, even if the same recording was sent a minute ago.
        idempotency.discard(organization, key=key)
    while True:
        try:
            claim = idempotency.claim(organization, key=key, request_fingerprint=call.fingerprint)
        except Conflict as error:
            if error.type == ErrorType.IDEMPOTENCY_KEY_IN_USE:
                return None
            raise
        if isinstance(claim, idempotency.StoredResponse):
            raise Conflict("This Idempotency-Key was used for another request.", error_type="idempotency_key_reused")
        if isinstance(claim, idempotency.Claim) and call.was_taken_over:
            # The other one ended without an answer. The client has the file, and sends it again.
            claim.forget()
            raise idempotency.TakenOver
        if isinstance(claim, idempotency.Claim):
            return _awaited(call, _submit(call, claim=claim))
        job = _job_of(call, reference=claim.reference)
        if job is not None:
            waiter = join(job)
            if waiter is not None:
                return job, True, waiter
            continue  # It was canceled in this moment.
        idempotency.release(organization, key=key, reference=claim.reference)


async def is_about_to_be_submitted(call: Call) -> bool:
    """Tell whether the request that has the key of a call still runs. All callers of a moment share one question."""
    return await _running.submit(call.claimed_key, group=None)


def join(job: Job) -> str | None:
    """Note that one more call waits for a job. Returns the name by which it leaves, None if it has ended for nothing.

    The row of the job is held meanwhile, as in `cancel_unless_awaited`: nobody joins a job that is being canceled.
    """
    with jobs.lock_job(job.pk) as locked:
        if locked is None or (locked.is_final and not locked.is_completed):
            return None
        return waiters.join(job.pk)


def note_unanswered(job: Job, *, mark: str, is_at_url: bool, left_at: float) -> None:
    """Note that the client of a call left without an answer: the next equal call is its retry, and joins its job.

    is_at_url: the recording is one at a URL, which the mark has.
    """
    digest = "" if is_at_url else _digest_of(job)
    if digest is not None:  # The job was not deleted meanwhile.
        waiters.note_unanswered(mark, sha256=digest, job_id=job.pk, left_at=left_at)


def cancel_if_repeated(job: Job, *, mark: str, is_at_url: bool, called_at: float) -> bool:
    """Cancel the job of a client that left if an equal call has come since and has a job of its own: it is the retry.

    The retry may come before the server knows that its client has left the first call. Returns whether the job was
    canceled. It is not if somebody waits for it, or if it has ended.
    """
    called_later = waiters.later_calls(mark, called_at=called_at)
    digest = "" if is_at_url else _digest_of(job)
    if not called_later or digest is None:
        return False
    later = Job.objects.filter(organization=job.organization_id, pk__in=called_later).exclude(pk=job.pk)
    if digest:
        later = later.filter(items__media__sha256=digest)
    if not later.exclude(status__in=(Status.FAILED, Status.CANCELED)).exists():
        return False
    canceled = cancel_unless_awaited(job)
    return canceled is not None and canceled.status == Status.CANCELED


def cancel_unless_awaited(job: Job) -> Job | None:
    """Cancel a job if nobody waits for it and it has not ended. Returns it as it is then, None if it was deleted."""
    with jobs.lock_job(job.pk) as locked:
        if locked is None or locked.is_final or waiters.is_awaited(job.pk):
            return locked
        canceled = jobs.cancel(locked)
    logger.info("Job %s was canceled: nobody waits for it any more.", job.pk)
    return canceled


def cancel_if_left(job: Job, *, waiter: str) -> Job | None:
    """Do the same at the end of a waiter's grace, unless another one has left since: its own grace is not over."""
    return cancel_unless_awaited(job) if waiters.has_left_last(job.pk, name=waiter) else None


def cancel_abandoned(*, now: datetime) -> int:
    """Cancel the jobs of clients that left and did not come back, and of calls whose process died. Returns how many.

    The process of a call does this itself when the grace is over, if it lives then and the database answers.
    """
    listed = waiters.listed()
    running = set(Job.objects.filter(pk__in=listed).exclude(status__in=FINAL_STATUSES).values_list("pk", flat=True))
    waiters.unlist(set(listed) - running)
    canceled = 0
    for job_id in waiters.abandoned(running, now=now.timestamp()):
        try:
            job = cancel_unless_awaited(Job(pk=job_id))
        except Exception:  # One broken row must not keep all others waiting.
            logger.exception("Job %s, which nobody waits for, could not be canceled.", job_id)
        else:
            canceled += job is not None and job.status == Status.CANCELED
    return canceled


def _join_unanswered(call: Call, *, job: Job | None = None) -> tuple[Job, bool, str] | None:
    """Join the job of an equal call whose client left without an answer. None if there is none.

    Most clients do not say that they try again: after a broken connection they send the same a second time.
    job: what the call has submitted by now. It has the digest of the recording then.
    """

    @cache
    def digest() -> str | None:
        if call.upload is None:
            return ""
        return idempotency.digest_of_file(call.upload) if job is None else _digest_of(job)

    def is_repeated(job_id: uuid.UUID) -> bool:
        return call.upload is None or _digest_of(Job(pk=job_id)) == digest()

    # A recording is read again only if there was such a call with one of its size.
    if not call.mark:
        return None
    now = time.time()
    left_id, left_at = departures.take(call.mark, is_repeated=is_repeated), now
    if left_id is None and waiters.has_unanswered(call.mark):
        left_id, left_at = waiters.take_unanswered(call.mark, sha256=digest() or "") or (None, now)
    if left_id is None:
        return None
    try:
        left = _job_of(call, reference=f"job:{left_id}")
        if left is None or (call.url and left.is_final and now - left_at > settings.DISCONNECT_GRACE_SECONDS):
            # There may be another file at the URL by now.
            return None
        waiter = join(left)
    except Exception:
        # This call is answered by an error. The next one repeats the same call, which must not be paid again.
        waiters.note_unanswered(call.mark, sha256=digest() or "", job_id=left_id, left_at=left_at)
        raise
    return None if waiter is None else (left, True, waiter)


def _awaited(call: Call, job: Job) -> tuple[Job, bool, str]:
    """Wait for the job that a call has submitted, or for that of an equal call whose client left meanwhile.

    A call that was left is noted before its process looks for later calls, and here it is the other way round. So of a
    call that leaves while its retry comes, at least one of both sees the other.
    """
    waiter = waiters.join(job.pk, mark=call.mark, called_at=call.called_at)
    left = None if call.key else _join_unanswered(call, job=job)
    if left is None:
        return job, False, waiter
    waiters.leave(job.pk, name=waiter)
    cancel_unless_awaited(job)
    return left


def _digest_of(job: Job) -> str | None:
    """Return the digest of a job's recording. None while it is fetched, and when it was deleted."""
    return JobItem.objects.filter(job=job).values_list("media__sha256", flat=True).first()


def _submit(call: Call, *, claim: idempotency.Claim) -> Job:
    def begin(job: Job) -> None:
        if call.key:
            claim.begin(job.hold_reference)
            return
        # Another first try of the same recording has taken over. Both are answered, and a retry joins the later one.
        with suppress(Conflict):
            claim.begin(job.hold_reference)

    try:
        return _submit_recording(call, replace(call.submission, in_transaction=begin))
    except BaseException:
        claim.forget()
        raise


def _submit_recording(call: Call, submission: Submission) -> Job:
    def begin(job: Job) -> None:
        # Before the commit: if the process dies right after it, the clock still finds that nobody waits.
        waiters.expect(job.pk)
        if submission.in_transaction is not None:
            submission.in_transaction(job)

    return _submit_with(call, replace(submission, in_transaction=begin))


def _submit_with(call: Call, submission: Submission) -> Job:
    if call.upload is None:
        return submissions.submit_url(submission, url=call.url)
    return submissions.submit_file(submission, upload=call.upload)


def _job_of(call: Call, *, reference: str) -> Job | None:
    """Return the job that an earlier call has submitted, None if it answers nobody any more.

    Raises Conflict if it was deleted or is hidden from a token, together with the answer to an Idempotency-Key.
    """
    _, _, job_id = reference.partition(":")
    submission = call.submission
    seen = Job.objects.seen_by(submission.organization, api_key=submission.api_key)
    job = seen.filter(pk=uuid.UUID(job_id)).first()
    if job is None:
        if call.key:
            raise Conflict("The answer to this Idempotency-Key was deleted.", error_type="answer_not_kept")
        return None
    if not job.is_final:
        return job
    if not job.is_completed:
        return None  # An error frees the key.
    too_old = timezone.now() - timedelta(seconds=settings.REPEAT_SECONDS)
    return job if call.key or (job.finished_at is not None and job.finished_at > too_old) else None


def _key_of_tries(call: Call) -> str:
    """Return the key under which the tries of one request without an Idempotency-Key find each other."""
    api_key = call.submission.api_key
    return idempotency.own_key("tries", api_key.pk if api_key else "", call.fingerprint)


def _which_run(keys: Sequence[tuple[uuid.UUID, str]]) -> list[bool]:
    found = idempotency.running(keys, now=timezone.now())
    return [key in found for key in keys]


_running: Batcher[tuple[uuid.UUID, str], bool] = Batcher(_which_run, max_batch_size=1000)
