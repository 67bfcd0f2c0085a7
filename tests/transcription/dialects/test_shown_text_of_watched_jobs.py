"""Jobs that are watched: what a stream shows is paid, whatever happens to the job, and nothing else is shown."""

import asyncio
import json
from contextlib import contextmanager

import pytest
from asgiref.sync import sync_to_async

from billing import ledger, statements
from billing.models import Entry, EntryKind
from tests.transcription.factories import make_batch, make_job, make_media, make_submission, make_transcript
from transcription import jobs
from transcription.dialects import event_stream
from transcription.jobs import audit, events
from transcription.jobs.charging import TextMeter
from transcription.models import Job, Media
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment

pytestmark = pytest.mark.django_db(transaction=True)
# 10 s at 300,000 micro-dollars an hour.
TEN_SECONDS_MICROS = 833


@pytest.fixture
def job(organization):
    return make_job(organization)


class Worker:
    """Publishes as a worker does what it has recognised of an item."""

    def __init__(self, item):
        self.item = jobs.claim(item.pk)
        self.meter = TextMeter(self.item)

    def say(self, text, *, end_ms, speaker=None):
        self.meter.add(Segment(0, end_ms, text, (), speaker))
        shown = {
            "item_id": str(self.item.pk),
            "length_ms": self.meter.length_ms,
            "price_micros": self.meter.price_micros,
        }
        events.publish(self.item.job_id, "segment", start=0.0, end=end_ms / 1000, text=text, shown=shown)


def show(name, data):
    return json.dumps([name, data]).encode()


def show_job(job):
    return {"status": job.status, "cost_micros": job.cost_micros}


def show_error(error):
    return {"error": str(error)}


def watch(job, *, when=None, watchers=1):
    """Return what each watcher gets, as (name, data).

    when: {text: function}; the function is called once, when the first watcher has been given this text.
    """
    when = dict(when or {})

    async def listen():
        found = []
        async for part in event_stream.stream(job, show=show, show_job=show_job, show_error=show_error):
            if part != event_stream.KEEP_ALIVE:
                name, data = json.loads(part)
                found.append((name, data))
                act = when.pop(data.get("text"), None)
                if act is not None:
                    await sync_to_async(act)()
        return found

    async def all_of_them():
        return await asyncio.wait_for(asyncio.gather(*(listen() for _ in range(watchers))), timeout=60)

    return asyncio.run(all_of_them())


def texts(told):
    return [data["text"] for name, data in told if name == "segment"]


def end_of(told):
    assert [name for name, _ in told].count("end") == 1
    assert told[-1][0] == "end"
    return told[-1][1]


def cancel(job):
    return lambda: jobs.cancel(Job.objects.get(pk=job.pk))


def usage(organization):
    entries = Entry.objects.filter(wallet__organization=organization, kind=EntryKind.USAGE)
    return [-entry.amount_micros for entry in entries]


def assert_books_are_true(organization):
    assert ledger.verify(ledger.wallet_of(organization)) == []
    assert statements.balance(organization).held_micros == 0
    assert list(audit.unpaid_texts()) == []


@contextmanager
def counted_writes():
    """Count the UPDATEs of items that this process makes, in whatever thread."""
    counts = {"updates": 0}
    record_shown = jobs.record_shown

    def counting(*args, **kwargs):
        counts["updates"] += 1
        return record_shown(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "record_shown", counting)
        yield counts


def test_watched_job_that_is_canceled_after_its_last_segment_costs_what_was_shown(organization, job):
    worker = Worker(job.items.get())
    for second in range(1, 11):
        worker.say(f"text {second}", end_ms=second * 1000)
    (told,) = watch(job, when={"text 10": cancel(job)})
    assert texts(told) == [f"text {second}" for second in range(1, 11)]
    assert end_of(told) == {"status": "canceled", "cost_micros": TEN_SECONDS_MICROS}
    assert usage(organization) == [TEN_SECONDS_MICROS]
    assert_books_are_true(organization)


def test_segments_look_as_before(job):
    Worker(job.items.get()).say("hello", end_ms=1_500)
    (told,) = watch(job, when={"hello": cancel(job)})
    assert told[0] == ("segment", {"start": 0.0, "end": 1.5, "text": "hello"})


def test_text_that_comes_after_the_cancellation_is_neither_shown_nor_charged(organization, job):
    worker = Worker(job.items.get())
    worker.say("before", end_ms=4_000)

    def act():
        cancel(job)()
        # The worker hears of it at its next heartbeat only.
        worker.say("after", end_ms=10_000)

    (told,) = watch(job, when={"before": act})
    assert texts(told) == ["before"]
    assert usage(organization) == [333]  # 4 s
    assert_books_are_true(organization)


def test_job_that_is_canceled_while_its_watcher_connects_shows_nothing(organization, job, monkeypatch):
    """The job was running when the watcher looked; all of its text still lies in Redis."""
    Worker(job.items.get()).say("all of it", end_ms=10_000)
    find = event_stream.steps.current
    looks = []

    async def then_cancel(job_id):
        found = await find(job_id)
        looks.append(job_id)
        if len(looks) == 1:
            await sync_to_async(cancel(job))()
        return found

    monkeypatch.setattr(event_stream.steps, "current", then_cancel)
    (told,) = watch(job)
    assert texts(told) == []
    assert end_of(told)["status"] == "canceled"
    assert usage(organization) == []


def test_deleted_job_costs_what_was_shown(organization, job):
    worker = Worker(job.items.get())
    worker.say("most of it", end_ms=9_000)

    def act():
        jobs.delete(Job.objects.get(pk=job.pk))
        worker.say("the rest", end_ms=10_000)

    (told,) = watch(job, when={"most of it": act})
    assert texts(told) == ["most of it"]
    assert end_of(told) == {}
    assert usage(organization) == [750]
    assert_books_are_true(organization)


def test_file_that_is_longer_than_it_says_costs_what_was_shown(organization, job):
    worker = Worker(job.items.get())
    worker.say("all of it", end_ms=10_500)

    def act():
        jobs.reject_item(worker.item, error_type="length_mismatch", message="Too long.")

    (told,) = watch(job, when={"all of it": act})
    assert end_of(told) == {"status": "failed", "cost_micros": TEN_SECONDS_MICROS}
    assert usage(organization) == [TEN_SECONDS_MICROS]
    assert_books_are_true(organization)


def test_failure_of_the_site_is_free(organization, job, settings):
    settings.JOB_ATTEMPTS = 1
    worker = Worker(job.items.get())
    worker.say("all of it", end_ms=10_000)

    def act():
        jobs.fail_item(worker.item, error_type="internal_error", message="Something went wrong on our side.")

    (told,) = watch(job, when={"all of it": act})
    assert end_of(told) == {"status": "failed", "cost_micros": None}
    assert usage(organization) == []
    assert_books_are_true(organization)


def test_watcher_of_a_job_that_completes_gets_all_text(organization, job):
    worker = Worker(job.items.get())
    worker.say("first", end_ms=5_000)

    def act():
        worker.say("last", end_ms=10_000)
        jobs.finish_item(worker.item, transcript=make_transcript())

    (told,) = watch(job, when={"first": act})
    assert texts(told) == ["first", "last"]
    assert end_of(told) == {"status": "completed", "cost_micros": TEN_SECONDS_MICROS}
    assert usage(organization) == [TEN_SECONDS_MICROS]


def test_two_watchers_pay_once(organization, job):
    worker = Worker(job.items.get())
    worker.say("first", end_ms=3_000)
    worker.say("second", end_ms=6_000)
    both = watch(job, when={"second": cancel(job)}, watchers=2)
    assert ["first", "second"] in [texts(told) for told in both]
    assert usage(organization) == [500]
    assert_books_are_true(organization)


def test_second_attempt_shows_the_same_text_for_the_same_price(organization, job, settings):
    first = Worker(job.items.get())
    first.say("first try", end_ms=8_000)

    def try_again():
        jobs.fail_item(first.item, error_type="engine_unavailable", message="No engine.")
        Worker(job.items.get()).say("second try", end_ms=5_000)

    (told,) = watch(job, when={"first try": try_again, "second try": cancel(job)})
    assert texts(told) == ["first try", "second try"]
    assert usage(organization) == [667]  # 8 s, not 13
    assert_books_are_true(organization)


def test_each_recording_of_a_batch_costs_what_was_shown_of_it(organization):
    job = make_batch(organization, 3)
    first, second, _ = (Worker(item) for item in job.items.all())
    first.say("one", end_ms=2_000)
    second.say("two", end_ms=6_000)
    (told,) = watch(job, when={"two": cancel(job)})
    assert texts(told) == ["one", "two"]
    assert [item.cost_micros for item in job.items.all()] == [167, 500, 0]
    assert usage(organization) == [667]
    assert_books_are_true(organization)


@pytest.mark.long
def test_rejected_recording_of_a_batch_that_runs_on_is_charged_at_its_end(organization):
    job = make_batch(organization, 2)
    first, second = (Worker(item) for item in job.items.all())
    first.say("one", end_ms=6_000)

    def act():
        jobs.reject_item(first.item, error_type="not_audio", message="Broken.")
        first.say("never paid", end_ms=9_000)
        second.say("two", end_ms=3_000)

    def finish():
        jobs.finish_item(second.item, transcript=make_transcript())

    (told,) = watch(job, when={"one": act, "two": finish})
    assert texts(told) == ["one", "two"]
    assert end_of(told) == {"status": "completed_with_errors", "cost_micros": 500 + TEN_SECONDS_MICROS}
    assert_books_are_true(organization)


def test_each_channel_costs_as_far_as_it_was_shown(organization):
    media = make_media(organization)
    Media.objects.filter(pk=media.pk).update(channels=2)
    media.refresh_from_db()
    job = jobs.submit(make_submission(organization, options=TranscriptionOptions(channels="split")), media=media)
    worker = Worker(job.items.get())
    worker.say("left", end_ms=10_000, speaker="S1")
    worker.say("right", end_ms=3_000, speaker="S2")
    watch(job, when={"right": cancel(job)})
    assert usage(organization) == [TEN_SECONDS_MICROS + 250]
    assert_books_are_true(organization)


def test_text_without_its_price_is_not_shown(organization, job):
    """It was published by the version before, whose workers did not say which item it is of."""
    worker = Worker(job.items.get())
    events.publish(job.pk, "segment", start=0.0, end=10.0, text="old")
    worker.say("new", end_ms=1_000)
    (told,) = watch(job, when={"new": cancel(job)})
    assert texts(told) == ["new"]


def test_what_is_at_hand_is_recorded_at_once(job):
    """A watcher that comes late gets thousands of segments, and the row is written a few times."""
    worker = Worker(job.items.get())
    for number in range(300):
        worker.say(f"text {number}", end_ms=number * 30)
    with counted_writes() as counts:
        (told,) = watch(job, when={"text 299": cancel(job)})
    assert len(texts(told)) == 300
    # 100 events are read from Redis at a time.
    assert counts["updates"] <= 3


def test_database_that_does_not_answer_shows_no_text(job, monkeypatch):
    Worker(job.items.get()).say("unpaid", end_ms=1_000)

    def broken(*args, **kwargs):
        raise ConnectionError

    monkeypatch.setattr(jobs, "record_shown", broken)
    with pytest.raises(ConnectionError):
        watch(job)
