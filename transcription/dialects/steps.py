"""Steps that every dialect takes between reading its request and showing its answer. Holds no wire format."""

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from accounts import stopping
from accounts.batcher import Batcher
from accounts.errors import InvalidField, MissingField, NotFound, Unavailable
from accounts.gate.authentication import Caller
from accounts.streaming import asynchronously
from transcription import jobs
from transcription.jobs import Submission, events
from transcription.models import Job, Priority
from transcription.models.jobs import JobQuerySet
from transcription.speech.options import TranscriptionOptions
from transcription.webhooks import targets
from transcription.webhooks.targets import Target

# After which time another process serves a client whose process ends.
RETRY_SECONDS = 1


def submission_of(
    caller: Caller,
    *,
    model: str,
    options: TranscriptionOptions,
    dialect: str,
    in_transaction: Callable[[Job], None] | None = None,
    priority: Priority | None = None,
) -> Submission:
    """Return what the caller asks for, to be given to a verb of `submissions`."""
    return Submission(
        organization=caller.organization,
        model=model,
        options=options,
        dialect=dialect,
        api_key=caller.api_key,
        in_transaction=in_transaction,
        priority=priority,
    )


def webhook_of(caller: Caller, *, url: str, header_name: str = "", header_value: str = "") -> Target | None:
    """Return the receiver that a request names for its job, None for none. Raises InvalidField, also for a token.

    A visitor must not choose where webhooks go that the site signs for its customer.
    """
    if not url:
        return None
    if caller.api_key.is_token:
        raise InvalidField("webhook_url", "A token cannot name a webhook. Add one for all jobs of your organization.")
    return targets.read(url=url, header_name=header_name, header_value=header_value)


def jobs_of(caller: Caller) -> JobQuerySet:
    """Return the jobs that the caller may know of."""
    return Job.objects.seen_by(caller.organization, api_key=caller.api_key)


def find_job(caller: Caller, job_id: str) -> Job:
    """Return the caller's job. Raises NotFound alike for a stranger's, an unknown and an impossible id."""
    number = job_number(job_id)
    job = jobs_of(caller).select_related("api_key").filter(pk=number).first() if number else None
    if job is None:
        raise NotFound("There is no such job.", error_type="job_not_found")
    return job


def job_number(job_id: str) -> uuid.UUID | None:
    """Return the id of a job as it stands in an address, None for what is no id."""
    try:
        number = uuid.UUID(job_id)
    except ValueError:
        return None
    # str(UUID) again: UUID() also reads braces and URNs, and one job must have one address.
    return number if str(number) == job_id.lower() else None


def one_file(files: Mapping[str, "UploadedFile[Any]"], *, name: str = "file") -> "UploadedFile[Any]":
    """Return the one file of a multipart request. Raises MissingField, or InvalidField when there are several."""
    sent = files.getlist(name) if hasattr(files, "getlist") else [files[name]] if name in files else []
    if not sent:
        raise MissingField(name, f"The field '{name}' is required and must be a file.")
    if len(sent) > 1:
        raise InvalidField(name, f"Send one file in the field '{name}'.")
    upload: UploadedFile[Any] = sent[0]
    return upload


def send_whole_result(job: Job, *, document: Iterator[bytes], headers_only: bool) -> HttpResponseBase:
    """Return a response with the JSON document of all results of a job, made while it is sent.

    That is a retrieval, once its last part was taken. headers_only: of a HEAD request, which is none; the document is
    not made. Raises NotFound until there are results.
    """
    jobs.require_results(job)
    if headers_only:
        return HttpResponse(content_type="application/json")
    sent = jobs.recorded_once_sent(document, job_ids=[job.pk])
    return StreamingHttpResponse(asynchronously(sent), content_type="application/json")


async def wait_for(job_id: uuid.UUID, *, seconds: float) -> Job | None:
    """Return a job once it has ended, or as it is after so many seconds. None when it was deleted.

    Holds neither a thread nor a database connection while it waits: Redis tells of the end, and one look into the
    database follows each silence. Raises Unavailable when this process is about to end.
    """
    job = await current(job_id)
    if job is None or job.is_final:
        return job
    del job  # Hundreds may wait, each with a row that is old soon.
    try:
        async with asyncio.timeout(seconds), aclosing(events.watch(job_id)) as told:
            async for event in told:
                if event is not None and event.name != events.END:
                    continue
                job = await current(job_id)
                if job is None or job.is_final:
                    return job
                del job
                require_time()
    except TimeoutError:
        pass
    return await current(job_id)


def require_time() -> None:
    """Raise Unavailable if this process is about to end: the client calls again, and finds the job at another one."""
    if stopping.is_interrupted():
        raise Unavailable(retry_after=RETRY_SECONDS)


async def current(job_id: uuid.UUID) -> Job | None:
    """Return a job as the database has it now, None when it was deleted. Keeps no thread and no connection.

    Callers who ask while a question is under way are answered together by the next one, and share the row.
    """
    return await _lookups.submit(job_id, group=None)


def _look_up(job_ids: Sequence[uuid.UUID]) -> Sequence[Job | Exception | None]:
    try:
        # With their keys: what shows a job does it in the event loop, which cannot ask the database.
        found = Job.objects.select_related("api_key").in_bulk(set(job_ids))
    except DatabaseError as error:
        # No single job is at fault. To ask again for each of them would keep a database busy that is in trouble.
        return [error] * len(job_ids)
    return [found.get(job_id) for job_id in job_ids]


_lookups: Batcher[uuid.UUID, Job | None] = Batcher(_look_up, max_batch_size=1000)
