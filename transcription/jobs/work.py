"""What a worker does with one item: claim it, run the pipeline outside any transaction, and say how it ended."""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from accounts import database_connection, log_context, tracing
from transcription import recognition, recordings
from transcription.jobs import charging, events, lifecycle
from transcription.jobs.submission import options_of
from transcription.models import JobItem
from transcription.speech import pipeline
from transcription.speech.errors import AudioError, AudioTooLong, OptionError, SpeechError
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment

logger = logging.getLogger(__name__)

LENGTH_MISMATCH = "The recording is longer than its file says. Convert it, to WAV for example, and send it again."
# Every attempt may take this long, however short its recording is: the engine may have to load a model first.
BASE_SECONDS = 900.0
# A recording through whose work the connection to the database is kept: opening another one is a large part of it. If
# it is cut all the same, the item is taken back and tried again.
SHORT_MS = 60_000
# How often an item that waits for the download of a model looks again.
LOOK_AGAIN_SECONDS = 1.0


def max_seconds(duration_ms: int) -> float:
    """Return how long an attempt may take: a slow engine on a busy machine needs twice the recording's length."""
    return BASE_SECONDS + 2 * duration_ms / 1000


def end_process() -> None:
    """End this process immediately. It is the child that RQ forked for one task."""
    os._exit(1)


def run_item(
    item_id: uuid.UUID,
    *,
    max_seconds: Callable[[int], float] = max_seconds,
    end_process: Callable[[], None] = end_process,
    look_again_seconds: float = LOOK_AGAIN_SECONDS,
) -> None:
    """Transcribe one item, if it still waits to be. Ends quietly when another worker has it or it was canceled.

    max_seconds: how long the attempt may take, from the milliseconds of its tracks together. end_process: what happens
    then, also inside native code, after the item has failed.
    Waits while the engine process downloads its model, before the claim: that is no attempt, and may take an hour.
    look_again_seconds: how often it looks whether the model is there.
    """
    while recognition.is_being_prepared() and lifecycle.keep_waiting(item_id):
        database_connection.release()
        time.sleep(look_again_seconds)
    item = lifecycle.claim(item_id)
    if item is None:
        return
    log_context.add(job_id=item.job_id, organization_id=item.job.organization_id)
    events.publish(item.job_id, "started", **_named(item), attempt=item.attempt)
    heartbeat = Heartbeat(item, max_seconds=max_seconds, end_process=end_process)
    heartbeat.start()
    try:
        with tracing.span("transcribe", kind="consumer", parent=item.job.trace_context, attempt=item.attempt):
            _run(item, heartbeat=heartbeat)
    except lifecycle.Superseded:
        logger.info("Item %s: attempt %s was taken away.", item.pk, item.attempt)
    finally:
        heartbeat.stop()


def _run(item: JobItem, *, heartbeat: "Heartbeat") -> None:
    options = options_of(item)
    max_duration_ms = min(settings.MAX_AUDIO_MS, item.recording.duration_ms + _tolerance_ms(item.recording.duration_ms))
    meter, named = charging.TextMeter(item), _named(item)
    _release_connection_before_long_work(item)

    def on_progress(decoded_ms: int) -> None:
        heartbeat.raise_if_superseded()
        progress = min(99, decoded_ms * 100 // max(1, item.recording.duration_ms))
        if progress != heartbeat.progress:
            heartbeat.progress = progress
            events.publish(item.job_id, "progress", **named, progress=progress)

    def on_segments(segments: list[Segment]) -> None:
        for segment in segments:
            meter.add(segment)
            events.publish(
                item.job_id,
                "segment",
                **named,
                start=segment.start_ms / 1000,
                end=segment.end_ms / 1000,
                text=segment.text,
                # These figures are recorded before the segment is shown. They are not shown themselves.
                shown={
                    "item_id": str(item.pk),
                    "length_ms": meter.length_ms,
                    "price_micros": meter.price_micros,
                },
            )

    def should_stop() -> bool:
        heartbeat.raise_if_superseded()
        return False

    try:
        with (
            recordings.local_path(item.recording) as path,
            recognition.engine(
                model=item.job.recognising_model,
                job_id=str(item.job_id),
                priority=item.job.priority,
                should_stop=should_stop,
            ) as engine,
            recognition.diarizer(job_id=str(item.job_id), should_stop=should_stop) as diarizer,
        ):
            transcript = pipeline.run(
                path,
                options=options,
                engine=engine,
                diarizer=diarizer if options.diarize else None,
                max_duration_ms=max_duration_ms,
                on_progress=on_progress,
                on_segments=on_segments,
                stage=tracing.stage,
            )
    except AudioTooLong:
        lifecycle.reject_item(item, error_type="length_mismatch", message=LENGTH_MISMATCH)
    except (AudioError, OptionError) as error:
        # The sender's fault: trying again would find the same.
        lifecycle.reject_item(item, error_type=error.type, message=error.message)
    except SpeechError as error:
        logger.exception("Item %s: attempt %s failed.", item.pk, item.attempt)
        lifecycle.fail_item(item, error_type=error.type, message=error.message)
    except lifecycle.Superseded:
        raise
    except Exception:
        # Whatever it was, the customer must see an end and the operator a traceback. The text stays in the log.
        logger.exception("Item %s: attempt %s crashed.", item.pk, item.attempt)
        lifecycle.fail_item(item, error_type="internal_error", message="Something went wrong on our side.")
    else:
        with tracing.span("store"):
            lifecycle.finish_item(item, transcript=transcript)


def _release_connection_before_long_work(item: JobItem) -> None:
    """An idle connection may be cut during hours of work (a restart, a firewall); what comes after opens a new one."""
    if item.recording.duration_ms > SHORT_MS:
        database_connection.release()


def _named(item: JobItem) -> dict[str, Any]:
    """Return the fields by which events of a batch say whose they are: those of its items in lists. {} otherwise."""
    return {} if item.job.item_count == 1 else {"item": item.position + 1, "reference": item.reference or None}


def _tolerance_ms(duration_ms: int) -> int:
    """Return how much longer than probed a recording may turn out: headers round, and some lie to be cheap."""
    return max(5_000, duration_ms // 50)


class Heartbeat(threading.Thread):
    """A thread that writes the heartbeat of a running item. The work cannot do it: one clip may take longer.

    It also ends the work when it takes too long, and learns when the item was taken away.
    """

    def __init__(
        self,
        item: JobItem,
        *,
        max_seconds: Callable[[int], float] = max_seconds,
        end_process: Callable[[], None] = end_process,
    ) -> None:
        super().__init__(name=f"heartbeat of {item.pk}", daemon=True)
        self.item = item
        self.progress = 0
        tracks = charging.track_count(item.recording, options=TranscriptionOptions.from_dict(item.job.options))
        self.deadline = time.monotonic() + max_seconds(item.recording.duration_ms * tracks)
        self._end_process = end_process
        self._stopped = threading.Event()
        self._superseded = threading.Event()

    def run(self) -> None:
        try:
            next_write_at = time.monotonic() + settings.HEARTBEAT_SECONDS
            while not self._stopped.wait(settings.CANCEL_CHECK_SECONDS):
                if events.is_asked_to_stop(self.item.job_id):
                    # It may have been canceled and queued again before this attempt. The database decides.
                    next_write_at = 0
                if time.monotonic() >= self.deadline:
                    self._end_work()
                if time.monotonic() >= next_write_at:
                    self._write()
                    next_write_at = time.monotonic() + settings.HEARTBEAT_SECONDS
        finally:
            connection.close()

    def _write(self) -> None:
        try:
            lifecycle.touch(self.item, progress=self.progress)
        except lifecycle.Superseded:
            self._superseded.set()
            self._stopped.set()
        except (DatabaseError, InterfaceError):
            # The next heartbeat may succeed. If none does, the item is given to another worker, as it should be.
            logger.exception("Item %s: the heartbeat was not written.", self.item.pk)
            database_connection.release()

    def _end_work(self) -> None:
        """End the attempt and this process. RQ's own time-out is a signal, which native code does not handle."""
        logger.error("Item %s: attempt %s took too long.", self.item.pk, self.item.attempt)
        try:
            lifecycle.fail_item(self.item, error_type="timed_out", message="The work took too long.")
        except Exception:  # Without a heartbeat, the clock takes the item back.
            logger.exception("Item %s: the end of attempt %s was not written.", self.item.pk, self.item.attempt)
        finally:
            # In every case: this thread is the only one that can end work which hangs, and the worker waits for it.
            self._end_process()

    def raise_if_superseded(self) -> None:
        """Raise Superseded if the item was taken away."""
        if self._superseded.is_set():
            raise lifecycle.Superseded

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=settings.HEARTBEAT_SECONDS)
