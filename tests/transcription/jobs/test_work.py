"""What a worker does with an item: real recordings on the real path, with an engine that does what the test says."""

import asyncio
import threading
import time

import pytest
from django.db import OperationalError, connection, connections

from billing import statements, tariff
from tests.fixtures import hostile, recordings
from tests.transcription.factories import make_job, make_media, make_submission
from transcription import jobs, recognition
from transcription.jobs import events, lifecycle, work
from transcription.jobs.submission import Source
from transcription.models import Status
from transcription.speech.engines.choice import WHISPER, Choice
from transcription.speech.errors import EngineUnavailable
from transcription.speech.transcript import Word

SENTENCE = recordings.named("sentence-slt.wav")


def submit(organization, *, content=None, duration_ms=SENTENCE.duration_ms):
    """Submit the recording of a sentence, or these bytes in its place. duration_ms: what is known of its length."""
    content = SENTENCE.path.read_bytes() if content is None else content
    media = make_media(organization, content=content, duration_ms=duration_ms)
    return jobs.submit(make_submission(organization), media=media)


def run(job):
    work.run_item(job.items.get().pk, look_again_seconds=0.01)
    job.refresh_from_db()


@pytest.fixture
def job(organization, fake_engine):
    return submit(organization)


@pytest.mark.long
def test_item_is_claimed_run_and_finished(job, fake_engine):
    fake_engine.say("hello")
    run(job)
    assert job.status == Status.COMPLETED
    assert jobs.transcript_of(job).text == "hello"


@pytest.mark.long
def test_second_delivery_does_nothing(job, fake_engine):
    run(job)
    clips = len(fake_engine.clip_lengths_ms)
    assert clips > 0
    run(job)
    assert len(fake_engine.clip_lengths_ms) == clips
    assert job.items.get().attempt == 1


@pytest.fixture
def coming(fake_engine, settings, tmp_path):
    """The engine process answers, and is still downloading the model that "auto" has found."""
    settings.ENGINE, settings.ENGINE_CHOICE_FILE = "auto", tmp_path / "engine.json"
    recognition.remember_choice(Choice(WHISPER, is_final=False))


def while_it_waits(job, *, act):
    """Run the item and call `act` in another thread when the item has waited for some rounds. Returns what was seen."""
    seen = []

    def watch():
        deadline = time.monotonic() + 10
        while len(set(seen)) < 3 and time.monotonic() < deadline:
            seen.append(job.items.values_list("status", "attempt", "touched_at").get())
        act()
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(job)
    watcher.join()
    return seen


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_item_waits_for_the_download_of_the_model_without_an_attempt(organization, coming):
    job = submit(organization)
    seen = while_it_waits(job, act=lambda: recognition.remember_choice(Choice(WHISPER)))
    assert {(status, attempt) for status, attempt, _ in seen} == {(Status.QUEUED, 0)}
    # The clock must not take it for lost.
    assert len({touched_at for *_, touched_at in seen}) == 3
    assert (job.status, job.items.get().attempt) == (Status.COMPLETED, 1)


@pytest.mark.django_db(transaction=True)
def test_job_that_is_canceled_meanwhile_waits_no_longer(organization, coming, fake_engine):
    job = submit(organization)
    while_it_waits(job, act=lambda: jobs.cancel(job))
    assert (job.status, fake_engine.clip_lengths_ms) == (Status.CANCELED, [])
    assert not recognition.choice().is_final


def test_bad_recording_is_not_tried_again(organization, fake_engine, tmp_path):
    job = submit(organization, content=hostile.text(tmp_path).read_bytes())
    run(job)
    assert (job.status, job.items.get().status) == (Status.FAILED, Status.FAILED)


def test_engine_that_is_not_there_is_tried_again(job, fake_engine):
    fake_engine.fail(EngineUnavailable())
    run(job)
    assert (job.status, job.items.get().status) == (Status.PROCESSING, Status.QUEUED)


def test_crash_of_the_worker_is_tried_again(job, fake_engine, caplog):
    """The engine answers with a word that is a number, which the worker cannot join with others."""
    fake_engine.words = (Word(7, 0, 100, 0.5),)
    run(job)
    assert "crashed" in caplog.text
    assert (job.status, job.items.get().status) == (Status.PROCESSING, Status.QUEUED)


@pytest.mark.django_db(transaction=True)
def test_canceled_job_stops_while_the_engine_is_still_at_work(organization, fake_engine):
    job = submit(organization)
    answered = []
    go_on = threading.Event()

    def cancel():
        jobs.cancel(job)
        connection.close()
        answered.append(go_on.wait(60))

    fake_engine.before_clip = cancel
    try:
        run(job)
        assert answered == []
    finally:
        go_on.set()
    assert job.status == Status.CANCELED
    assert statements.balance(organization).held_micros == 0


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_heartbeat_is_written_while_recognition_is_silent(organization, fake_engine, settings):
    settings.HEARTBEAT_SECONDS = 0.1
    settings.CANCEL_CHECK_SECONDS = 0.05
    job = submit(organization)
    seen = []

    def watch():
        deadline = time.monotonic() + 10
        while len(set(seen)) < 3 and time.monotonic() < deadline:
            seen.append(job.items.get().touched_at)
            time.sleep(0.05)
        connection.close()

    fake_engine.before_clip = watch
    run(job)
    assert len(set(seen)) == 3
    assert seen == sorted(seen)


def told_about(job):
    """Return the events of a job that has ended, as those who watch it hear them."""

    async def listen():
        found = []
        async for event in events.watch(job.pk, patience_seconds=1):
            assert event is not None, f"nothing came after {found}"
            found.append((event.name, event.data))
            if event.name == events.END:
                break
        return found

    return asyncio.run(listen())


@pytest.mark.long
def test_events_tell_the_story(job, fake_engine, django_capture_on_commit_callbacks):
    fake_engine.say("hello there")
    with django_capture_on_commit_callbacks(execute=True):
        run(job)
    told = told_about(job)
    assert told[0] == ("started", {"attempt": 1})
    assert told[-1] == ("end", {})
    [segment] = [data for name, data in told if name == "segment"]
    assert segment["text"] == "hello there"
    # What must be recorded before this text is shown: the price up to its end, per started second.
    shown = segment.pop("shown")
    assert shown["item_id"] == str(job.items.get().pk)
    assert shown["length_ms"] == round(segment["end"] * 1000)
    assert shown["price_micros"] == tariff.price_of("standard", shown["length_ms"])
    progress = [data["progress"] for name, data in told if name == "progress"]
    assert progress == sorted(set(progress))
    assert progress[-1] == 99
    assert {name for name, _ in told} == {"started", "progress", "segment", "end"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heartbeat of")]


@pytest.mark.long
def test_events_of_a_batch_name_their_item(organization, fake_engine, django_capture_on_commit_callbacks):
    """Nobody could tell whose text it is."""
    recording = make_media(organization, content=SENTENCE.path.read_bytes(), duration_ms=SENTENCE.duration_ms)
    sources = [Source(reference=reference, stored=recording) for reference in ("first call", "")]
    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.submit_sources(make_submission(organization), sources=sources)
        for item in job.items.all():
            work.run_item(item.pk)
    told = told_about(job)
    names = [(name, data["item"], data["reference"]) for name, data in told if name != "end"]
    assert set(names) == {
        (name, *whose) for name in ("started", "progress", "segment") for whose in ((1, "first call"), (2, None))
    }
    assert told[-1] == ("end", {})


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_work_that_takes_too_long_is_ended(organization, fake_engine, settings):
    """Also inside native code, which no signal and no exception reaches: the process ends."""
    ended = threading.Event()
    settings.CANCEL_CHECK_SECONDS = 0.05
    job = submit(organization)
    fake_engine.before_clip = lambda: ended.wait(60)
    work.run_item(job.items.get().pk, max_seconds=lambda _: 0.1, end_process=ended.set)
    job.refresh_from_db()
    assert ended.is_set()
    assert job.items.get().status == Status.QUEUED
    assert statements.balance(organization).balance_micros == 1_000_000


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_work_that_takes_too_long_is_ended_in_an_outage_too(organization, fake_engine, settings, monkeypatch):
    """Else its worker would wait for it for ever, and take no other task. The clock takes the item back."""
    ended = threading.Event()
    settings.CANCEL_CHECK_SECONDS = 0.05
    job = submit(organization)

    def fail(*_, **__):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(lifecycle, "fail_item", fail)
    fake_engine.before_clip = lambda: ended.wait(60)
    work.run_item(job.items.get().pk, max_seconds=lambda _: 0.1, end_process=ended.set)
    assert ended.is_set()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("duration_ms", "count"), [(work.SHORT_MS + 1, 1), (work.SHORT_MS, 0)])
def test_no_connection_is_kept_idle_through_long_work(organization, fake_engine, monkeypatch, duration_ms, count):
    """A firewall or a restart cuts idle ones, and the work of hours would be lost at its end. Short work keeps it."""
    job = submit(organization, duration_ms=duration_ms)
    closed, before_clips = [], []
    # SQLite in memory keeps its connection open and tells nothing.
    monkeypatch.setattr(connections["default"], "close", lambda: closed.append(1))
    fake_engine.before_clip = lambda: before_clips.append(len(closed))
    run(job)
    assert before_clips == [count]
    assert job.status == Status.COMPLETED


def test_channels_apart_get_the_time_of_as_many_recordings(organization):
    job = make_job(organization)
    item = job.items.get()
    item.media.channels = 4
    together = work.Heartbeat(item).deadline
    item.job.options = {**item.job.options, "channels": "split"}
    assert work.Heartbeat(item).deadline - together >= 3 * 2 * item.media.duration_ms / 1000 - 1
