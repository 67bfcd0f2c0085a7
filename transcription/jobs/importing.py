"""What the importer does: it fetches the files that customers named by URL, many at once, and tells the jobs.

The task of the queue `imports` is no single import: it says that one waits. A process that runs it claims imports from
the database until none is left. So a slow server holds one of many places and not a process, and organizations are
served in turn, whatever the order in Redis.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import Q

from accounts import database_connection, log_context, tracing
from accounts.errors import BadMedia, VoxsiteError
from transcription.jobs import queue, verification
from transcription.models import Import, JobItem, Status, Upload, UploadState
from transcription.recordings import imports
from transcription.recordings.downloads import PAUSES, Stopped

logger = logging.getLogger(__name__)

# Downloads of one process at the same time. Each is a thread that waits, and holds a few hundred kilobytes.
PLACES = 16
# How often a process looks for more to fetch, and for imports that were canceled.
LOOK_AGAIN_SECONDS = 0.5
# After this time a process takes nothing new and ends, so that no process grows old. RQ kills one that runs for a day.
MAX_SECONDS = 3600.0
# But a download may take an hour, and nobody else fetches meanwhile. If one still runs after this pause, the process
# goes on with all the others as well, and tries again to end some minutes later.
MAX_PAUSE_SECONDS = 5.0
PAUSE_AGAIN_SECONDS = 300.0
# It takes no more work so many seconds before RQ would kill it with all its downloads. The last of these need them.
SPARE_SECONDS = 120.0
RECONCILE_BATCH = 500
RECONCILE_SECONDS = 0.7


@dataclass(eq=False)
class _Fetch:
    """A download that runs. stop: set when nobody needs it any more."""

    source: Import
    touched: float
    stop: threading.Event = field(default_factory=threading.Event)


def fetch_all(
    *,
    pauses: Sequence[float] = PAUSES,
    max_seconds: float = MAX_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Fetch what waits, until nothing does or the time of the process is over. pauses: as in `recordings.downloads`."""
    began_at = clock()
    ends_at = began_at + max_seconds
    # Whatever is claimed before this time has come when RQ's time is over.
    last_claim_at = began_at + settings.RQ_TASK_SECONDS - settings.IMPORT_MAX_SECONDS - SPARE_SECONDS
    running: dict[Future[None], _Fetch] = {}
    with ThreadPoolExecutor(PLACES, thread_name_prefix="import") as threads:
        while True:
            if ends_at + MAX_PAUSE_SECONDS <= clock() < last_claim_at and running:
                ends_at = min(clock() + PAUSE_AGAIN_SECONDS, last_claim_at)
            try:
                while len(running) < PLACES and clock() < ends_at:
                    source = imports.claim_next()
                    if source is None:
                        break
                    fetch = _Fetch(source, touched=time.monotonic())
                    running[threads.submit(_run, fetch, pauses)] = fetch
                if not running:
                    break
                _stop_unneeded(list(running.values()))
            except (DatabaseError, InterfaceError):
                if not running:
                    raise
                # The downloads go on: without this loop they would have no heartbeat, and begin anew.
                logger.exception("The database did not answer the importer; it will ask again.")
                database_connection.release()
            database_connection.release_to_pool()
            for done in wait(running, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED).done:
                del running[done]
                if error := done.exception():
                    # The database, most likely. The clock gives the import back, or tells its jobs.
                    logger.error("The end of an import was not written.", exc_info=error)
    # Those that wait although there was time belong to organizations with all their places taken. The processes that
    # hold these go on with them.
    if clock() >= ends_at and Import.objects.filter(touched_at__isnull=True).exists():
        queue.enqueue_imports()


def reconcile(*, now: datetime, seconds: float = RECONCILE_SECONDS) -> int:
    """Have imports fetched that nobody fetches any more, or end them. Returns how many.

    seconds: after this time, what is left waits for the next round.

    However many wait, a round reads a constant number of rows: the imports of silent processes by an index, and one
    that waits.
    """
    silent_since = now - timedelta(seconds=settings.SILENT_WORKER_SECONDS)
    changed = 0
    ends_at = time.monotonic() + seconds
    hopeless = Import.objects.filter(touched_at__lt=silent_since, attempt__gte=settings.JOB_ATTEMPTS)
    for source in hopeless.select_related("upload").order_by("touched_at")[:RECONCILE_BATCH]:
        error = VoxsiteError("The file could not be fetched, for a reason on our side.", error_type="worker_lost")
        try:
            if imports.refuse(source, error=error):
                changed += 1
                _tell_jobs(source.upload)
        except Exception:  # One broken row must not keep all others waiting.
            logger.exception("Import %s could not be ended.", source.pk)
            # Nor be fetched once more, nor use up every round. If it has ended, `tell_untold` finds its items.
            Import.objects.filter(pk=source.pk, touched_at=source.touched_at).update(touched_at=now)
        if time.monotonic() >= ends_at:
            break
    changed += imports.give_back_silent(since=silent_since)
    # A task too many finds nothing to do. Whether those that wait are lost cannot be told without reading them.
    if Import.objects.filter(touched_at__isnull=True).exists():
        queue.enqueue_imports()
    return changed


def tell_untold(item_ids: Sequence[uuid.UUID], *, seconds: float) -> tuple[int, bool]:
    """Tell those of these items that wait for an upload which has ended. Returns how many, and whether that were all.

    A process may die between the end of an upload and the news of it. seconds: after this time it ends.
    An item that cannot be told is logged, and its turn comes again after those that have waited for less time.
    """
    untold = JobItem.objects.filter(pk__in=item_ids, status=Status.UPLOADING).exclude(
        upload__state__in=(UploadState.WAITING, UploadState.EXPIRED)
    )
    told = 0
    ends_at = time.monotonic() + seconds
    for item in untold.select_related("upload"):
        if item.upload is None:
            told += verification.tell_each([item], verification.fail_without_upload)
        else:
            told += _tell_jobs(item.upload)
        if time.monotonic() >= ends_at:
            return told, False
    return told, True


def _run(fetch: _Fetch, pauses: Sequence[float]) -> None:
    """Fetch one file, in a thread. Whatever happens, it ends or waits for another attempt."""
    source = fetch.source
    log_context.begin(import_id=source.pk)
    try:
        with tracing.span("import", kind="client", parent=_trace_of(source), attempt=source.attempt) as span:
            _fetch_and_tell(fetch, pauses, span=span)
    finally:
        database_connection.release()


def _fetch_and_tell(fetch: _Fetch, pauses: Sequence[float], *, span: tracing.Span) -> None:
    source = fetch.source
    try:
        if not _needed([source]):
            imports.drop(source)
            return
        imports.fetch(source, should_stop=fetch.stop.is_set, pauses=pauses)
    except (Stopped, imports.Lost):
        span.fail("stopped")
        logger.info("Import %s: attempt %s was stopped.", source.pk, source.attempt)
        imports.drop(source)
    except VoxsiteError as error:
        span.fail(error.type)
        logger.info("Import %s: %s", source.pk, error.type)
        _refuse(source, error=error)
    except Exception as error:
        span.fail(type(error).__name__)
        logger.exception("Import %s: attempt %s crashed.", source.pk, source.attempt)
        _give_back(source)
    else:
        _tell_jobs(source.upload)


def _trace_of(source: Import) -> str:
    """Return the trace of a job that waits for the file, "" if nothing is traced."""
    if not tracing.is_on():
        return ""
    waiting = JobItem.objects.filter(upload=source.upload_id).order_by("pk")
    return waiting.values_list("job__trace_context", flat=True).first() or ""


def _give_back(source: Import) -> None:
    if source.attempt < settings.JOB_ATTEMPTS:
        imports.give_back(source)
        return
    error = VoxsiteError("The file could not be fetched, for a reason on our side.", error_type="internal_error")
    _refuse(source, error=error)


def _refuse(source: Import, *, error: VoxsiteError) -> None:
    # An attempt that was lost meanwhile decides nothing: the next one may succeed.
    if imports.refuse(source, error=error):
        _tell_jobs(source.upload)


def _stop_unneeded(fetches: Sequence[_Fetch]) -> None:
    """Stop downloads for which no item waits any more, and write the heartbeats of the others."""
    needed = _needed([fetch.source for fetch in fetches])
    now = time.monotonic()
    for fetch in fetches:
        if fetch.source.upload_id not in needed:
            fetch.stop.set()
        elif now - fetch.touched >= settings.HEARTBEAT_SECONDS:
            fetch.touched = now
            if not imports.touch(fetch.source):
                fetch.stop.set()


def _needed(sources: Sequence[Import]) -> set[uuid.UUID]:
    """Return the ids of the uploads that somebody waits for."""
    waiting = Upload.objects.filter(pk__in=[source.upload_id for source in sources], state=UploadState.WAITING)
    needed = waiting.filter(Q(items__status=Status.UPLOADING) | Q(source__is_for_later=True))
    return set(needed.values_list("pk", flat=True))


def _tell_jobs(upload: Upload) -> int:
    """Have the items that wait for an upload verified, or end them if its bytes could not be had. Returns how many."""
    ended = Upload.objects.filter(pk=upload.pk).first()
    if ended is None:
        return 0  # Deleted meanwhile, with its jobs.
    if ended.state != UploadState.REFUSED:
        return verification.bytes_have_come(ended)
    error = BadMedia(ended.error_message, error_type=ended.error_type, param="url")
    waiting = JobItem.objects.filter(upload=ended, status=Status.UPLOADING)
    return verification.tell_each(list(waiting), lambda item: verification.fail_unverified(item, error=error))
