"""What a worker does with an item, with a pipeline that waits for us at the moments that matter."""

import threading
import time

import pytest

from billing import statements
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.jobs import events, work
from transcription.models import Status
from transcription.speech import pipeline
from transcription.speech.errors import EngineUnavailable, NotAudio


@pytest.fixture
def job(organization):
    return make_job(organization)


def run(job, monkeypatch, act):
    """Run the job's item with `act(on_progress)` in place of recognition."""
    monkeypatch.setattr(pipeline, "run", lambda *_, on_progress, **__: act(on_progress))
    work.run_item(job.items.get().pk)
    job.refresh_from_db()


def test_item_is_claimed_run_and_finished(job, monkeypatch):
    run(job, monkeypatch, lambda _: make_transcript("hello"))
    assert job.status == Status.COMPLETED
    assert jobs.transcript_of(job).text == "hello"


def test_second_delivery_does_nothing(job, monkeypatch):
    run(job, monkeypatch, lambda _: make_transcript("hello"))
    run(job, monkeypatch, lambda _: pytest.fail("ran twice"))
    assert job.items.get().attempt == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotAudio(), Status.FAILED), (EngineUnavailable(), Status.PROCESSING), (KeyError(), Status.PROCESSING)],
)
def test_only_faults_of_ours_are_tried_again(job, monkeypatch, error, status):
    def act(_):
        raise error

    run(job, monkeypatch, act)
    assert job.status == status
    assert job.items.get().status == (Status.FAILED if status == Status.FAILED else Status.QUEUED)


@pytest.mark.django_db(transaction=True)
def test_canceled_job_stops_within_two_seconds(organization, monkeypatch):
    job = make_job(organization)
    stopped_after = []

    def act(on_progress):
        canceled_at = None
        for _ in range(200):
            time.sleep(0.05)
            if canceled_at is None:
                jobs.cancel(job)
                canceled_at = time.monotonic()
            try:
                on_progress(1000)
            except jobs.Superseded:
                stopped_after.append(time.monotonic() - canceled_at)
                raise
        pytest.fail("was never told to stop")

    run(job, monkeypatch, act)
    assert stopped_after[0] < 2
    assert job.status == Status.CANCELED
    assert statements.balance(organization).held_micros == 0


@pytest.mark.django_db(transaction=True)
def test_heartbeat_is_written_while_recognition_is_silent(organization, monkeypatch, settings):
    settings.HEARTBEAT_SECONDS = 0.1
    monkeypatch.setattr(work, "LISTEN_SECONDS", 0.05)
    job = make_job(organization)
    seen = []

    def act(_):
        for _ in range(3):
            seen.append(job.items.get().touched_at)
            time.sleep(0.4)
        return make_transcript()

    run(job, monkeypatch, act)
    assert seen[0] < seen[1] < seen[2]


def test_events_tell_the_story(job, monkeypatch, django_capture_on_commit_callbacks):
    told = []
    monkeypatch.setattr(events, "publish", lambda _, name, **data: told.append((name, data)))

    def act(on_progress):
        on_progress(5_000)
        on_progress(5_001)
        return make_transcript()

    with django_capture_on_commit_callbacks(execute=True):
        run(job, monkeypatch, act)
    assert told == [("started", {"attempt": 1}), ("progress", {"progress": 50}), ("end", {})]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heart of")]


@pytest.mark.django_db(transaction=True)
def test_work_that_takes_too_long_is_ended(organization, monkeypatch):
    """Also inside native code, which no signal and no exception reaches: the process ends."""
    ended = threading.Event()
    monkeypatch.setattr(work, "end_process", ended.set)
    monkeypatch.setattr(work, "LISTEN_SECONDS", 0.05)
    monkeypatch.setattr(work, "_most_seconds", lambda _: 0.1)
    job = make_job(organization)

    def hang(_):
        assert ended.wait(10)
        return make_transcript()

    run(job, monkeypatch, hang)
    assert job.items.get().status == Status.QUEUED
    assert statements.balance(organization).balance_micros == 1_000_000


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_kept_idle_through_the_work(organization, monkeypatch):
    """A firewall or a restart cuts idle ones, and the work of hours would be lost at its end."""
    job = make_job(organization)
    released = []
    monkeypatch.setattr(work.connections, "release", lambda: released.append(1))

    def act(_):
        assert released == [1]
        return make_transcript()

    run(job, monkeypatch, act)
    assert job.status == Status.COMPLETED


def test_channels_apart_get_the_time_of_as_many_recordings(organization):
    job = make_job(organization)
    item = job.items.get()
    item.media.channels = 4
    together = work.Heart(item).deadline
    item.job.options = {**item.job.options, "channels": "split"}
    assert work.Heart(item).deadline - together >= 3 * 2 * item.media.duration_ms / 1000 - 1
