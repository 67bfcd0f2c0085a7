"""Creates jobs of announced files and URLs, and shows where the files are to be sent. Shared by two addresses.

The packages send such a request again when its answer is lost, without an Idempotency-Key. So an equal request of the
same API key within REPEATED_WITHIN gets the job of the first one, with fresh addresses: nothing is transcribed twice.
That ends when a file or a part has come: who has sent one has heard the answer, and an equal order is of other
recordings, which must not replace the first ones. A bucket is asked what has come, since it tells nobody.
A request with an Idempotency-Key says itself what it repeats. One of a token without such a key repeats nothing.
"""

import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import database_connection
from accounts.errors import NoRoom
from accounts.gate import idempotency
from accounts.models import Organization
from transcription import recognition, submissions
from transcription.dialects import steps
from transcription.dialects.json_parsing import JsonParser
from transcription.dialects.transcribeapi import answers, results, targets_shown
from transcription.dialects.transcribeapi.gate import TranscribeApiGateView, json_of
from transcription.dialects.transcribeapi.manifest import Manifest
from transcription.jobs import OF_THE_REQUEST, Source
from transcription.models import Job, JobItem, Upload, UploadState
from transcription.recordings import upload_targets

Read = Callable[..., Manifest]
# Three tries of a client that waits 60 s for each, and time to spare.
REPEATED_WITHIN = timedelta(minutes=4)
# A job that is run again answers no repeat of the order of the first one.
DIGEST = f"{OF_THE_REQUEST}sha256"
RETRY_SECONDS = 10
CREATED = 201


class Turns:
    """Large bodies take turns: a manifest of 10,000 files takes some 100 MB while it becomes a job."""

    def __init__(self, free: threading.Semaphore, *, wait_seconds: float = 20.0) -> None:
        """free: the turns that nobody has. wait_seconds: less than the packages wait for an answer."""
        self._free = free
        self._wait_seconds = wait_seconds

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a turn. Raises NoRoom when none is free in time."""
        # Who has been recognised holds a connection, and those who wait would take them all.
        database_connection.release()
        if not self._free.acquire(timeout=self._wait_seconds):
            raise NoRoom(
                f"Too many large orders are being read. Nothing was ordered; try again in {RETRY_SECONDS} seconds.",
                retry_after=RETRY_SECONDS,
            )
        try:
            yield
        finally:
            self._free.release()


# Of this process.
TURNS = Turns(threading.BoundedSemaphore(2))


def respond(
    view: TranscribeApiGateView,
    request: Request,
    *,
    read: Read,
    has_all_uploads: bool,
    turns: Turns,
) -> Response:
    """Create the job that a JSON body asks for. Returns the answer.

    read: returns the manifest of a body. has_all_uploads: whether the answer says of every file where it is to be sent;
    else only of a single one, and the caller asks for the others in pages. turns: of large bodies. Raises NoRoom when
    the wait for one takes too long.
    """

    @transaction.atomic
    def act(keep: idempotency.Keep) -> Response:
        # Of equal requests at once, each waits here for the one before it.
        Organization.objects.select_for_update(no_key=True).get(pk=view.caller.organization.pk)
        made: dict[str, str] = {}

        def store(job: Job) -> None:
            made["job_id"] = str(job.pk)
            keep(CREATED, made)

        manifest = read(body, capabilities_of=recognition.capabilities_of)
        job = _created_before(view, digest=digest, manifest=manifest)
        if job is not None and job.pk != begun:
            store(job)
            return Response(made, status=CREATED, headers={idempotency.REPLAYED_HEADER: "true"})
        submission = replace(
            steps.submission_of(
                view.caller,
                model=manifest.asked.model,
                options=manifest.asked.options,
                dialect=results.DIALECT,
                in_transaction=store,
            ),
            answer_options=manifest.asked.view.to_dict() | ({DIGEST: digest} if digest else {}),
            webhook=steps.webhook_of(view.caller, url=manifest.asked.webhook_url),
        )
        submissions.submit_sources(submission, sources=_sources(manifest), name=_name_of(manifest))
        return Response(made, status=CREATED)

    with nullcontext() if _is_small(request) else turns.one():
        body = json_of(request, too_large="too_many_files")
        digest = _digest_of(view, request, body)
        begun = _begun_before(view, digest=digest)
        response = view.once(act)
        # Outside the transaction, since an object storage is asked for addresses. They are fresh in a replay too.
        job = steps.find_job(view.caller, response.data["job_id"])
        response.data = show_created(job, has_all_uploads=has_all_uploads)
        return response


def _is_small(request: Request) -> bool:
    """Tell whether the body of a request needs no turn."""
    length = request.META.get("CONTENT_LENGTH") or ""
    return length.isdecimal() and int(length) <= JsonParser.max_bytes


def show_created(job: Job, *, has_all_uploads: bool) -> dict[str, Any]:
    """Return the answer to the creation of a job.

    `uploads` is left out where nothing is to be sent, or pages have it: an empty list would hide them from a package.
    """
    status = results.status_of(job)
    shown: dict[str, Any] = {
        "job_id": str(job.pk),
        **answers.both(status),
        "type": "batch" if job.item_count > 1 else "big_file",
        "model": job.model,
        "total_files": job.item_count,
        "billed_seconds": 0,
        "cost": 0,
    }
    if has_all_uploads or job.item_count == 1:
        waiting = waiting_items(job)
        uploads = [targets_shown.show(item, site_url=settings.SITE_URL) for item in waiting]
        if uploads:
            shown["uploads"] = uploads
        if job.item_count == 1 and uploads:
            shown |= {"reference_id": uploads[0]["reference_id"], "upload": uploads[0]["upload"]}
    return shown


def waiting_items(job: Job) -> list[JobItem]:
    """Return the items of a job whose files the customer has to send, in their order."""
    return list(_waiting(job).select_related("upload").order_by("position"))


def _waiting(job: Job) -> QuerySet[JobItem]:
    waiting = Upload.objects.of(job.organization).filter(state=UploadState.WAITING, source__isnull=True)
    return job.items.filter(upload__in=waiting)


def _digest_of(view: TranscribeApiGateView, request: Request, body: dict[str, Any]) -> str:
    """Return what equal requests have in common, "" for one that says itself what it repeats."""
    # Several visitors may share a token, and order the same of different recordings.
    if request.headers.get(idempotency.HEADER) or view.caller.api_key.is_token:
        return ""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _begun_before(view: TranscribeApiGateView, *, digest: str) -> uuid.UUID | None:
    """Return the id of the job that an equal request has just created if a file of it is being sent.

    Runs outside of the transaction that creates jobs, since it may ask an object storage. A job that is created after
    it has not been answered yet, so nobody can send it anything.
    """
    job = _last_equal(view, digest=digest)
    if job is None:
        return None
    waiting = list(Upload.objects.filter(pk__in=_waiting(job).values("upload")))
    return job.pk if upload_targets.have_begun(job.organization, waiting=waiting) else None


def _created_before(view: TranscribeApiGateView, *, digest: str, manifest: Manifest) -> Job | None:
    """Return the job that an equal request has just created, unless it has failed or one of its files has come."""
    job = _last_equal(view, digest=digest)
    # Not by the uploads that have come: one that was fetched from a URL does not say so any more.
    sent_count = sum(not file.url for file in manifest.files)
    return job if job is not None and _waiting(job).count() == sent_count else None


def _last_equal(view: TranscribeApiGateView, *, digest: str) -> Job | None:
    if not digest:
        return None
    recent = Job.objects.of(view.caller.organization).filter(
        created_at__gt=timezone.now() - REPEATED_WITHIN,
        api_key=view.caller.api_key,
        dialect=results.DIALECT,
        **{f"answer_options__{DIGEST}": digest},
    )
    return next((job for job in recent.newest_first() if not job.is_final or job.is_completed), None)


def _sources(manifest: Manifest) -> list[Source]:
    return [
        Source(
            reference=file.reference,
            name=file.name,
            declared_bytes=file.size_bytes,
            declared_type=file.content_type,
            url=file.url,
            language=file.language or "",
        )
        for file in manifest.files
    ]


def _name_of(manifest: Manifest) -> str:
    files = manifest.files
    if len(files) > 1:
        return f"{len(files)} files"
    return files[0].name or files[0].reference
