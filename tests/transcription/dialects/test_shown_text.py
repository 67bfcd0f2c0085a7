"""Which events of a running job may be shown, and what is recorded of their text before they are."""

import asyncio
import threading

import pytest

from tests.transcription.factories import make_batch, make_job
from transcription import jobs
from transcription.dialects import shown_text
from transcription.jobs import events
from transcription.jobs.events import Event

pytestmark = pytest.mark.django_db(transaction=True)
WATCHERS = 30


def segment(item, *, price_micros, length_ms=1_000, text="hello"):
    shown = {"item_id": str(item.pk), "length_ms": length_ms, "price_micros": price_micros}
    return Event("segment", {"start": 0.0, "end": length_ms / 1000, "text": text, "shown": shown})


def payable(item, *told, **options):
    organization_id = item.job.organization_id
    return asyncio.run(shown_text.payable(told, organization_id=organization_id, **options))


def texts_of(found):
    return [event.data["text"] for event in found if event.name == "segment"]


def recorded(item):
    item.refresh_from_db()
    return item.shown_ms, item.shown_micros


@pytest.fixture
def item(organization):
    return jobs.claim(make_job(organization).items.get().pk)


def test_events_keep_their_order_and_lose_what_is_not_shown(item):
    told = [Event("started", {"attempt": 1}), segment(item, price_micros=83), Event(events.END, {})]
    found = payable(item, *told)
    assert found == [told[0], Event("segment", {"start": 0.0, "end": 1.0, "text": "hello"}), told[2]]


def test_most_of_what_came_together_is_recorded(item):
    payable(
        item,
        segment(item, price_micros=83),
        segment(item, price_micros=500, length_ms=6_000),
        segment(item, price_micros=250, length_ms=3_000),
    )
    assert recorded(item) == (6_000, 500)


def test_less_than_before_changes_nothing(item):
    payable(item, segment(item, price_micros=500, length_ms=6_000))
    assert texts_of(payable(item, segment(item, price_micros=250, length_ms=3_000))) == ["hello"]
    assert recorded(item) == (6_000, 500)


def test_text_that_is_paid_may_be_shown_again_after_the_end(item):
    payable(item, segment(item, price_micros=500))
    jobs.cancel(item.job)
    assert texts_of(payable(item, segment(item, price_micros=500))) == ["hello"]
    assert texts_of(payable(item, segment(item, price_micros=501))) == []


def test_each_recording_decides_for_its_own_text(organization):
    first, second = make_batch(organization, 2).items.all()
    jobs.reject_item(jobs.claim(first.pk), error_type="not_audio", message="No audio.")
    told = payable(first, segment(first, price_micros=83, text="one"), segment(second, price_micros=83, text="two"))
    assert texts_of(told) == ["two"]
    assert recorded(first) == (0, 0)


def test_segment_of_an_older_version_is_dropped(item):
    assert payable(item, Event("segment", {"start": 0.0, "end": 1.0, "text": "old"})) == []


def test_free_text_is_recorded_too(item):
    """A site may give transcription away: the first text is no exception to what may leave."""
    jobs.cancel(item.job)
    assert payable(item, segment(item, price_micros=0)) == []


def test_what_is_remembered_is_bounded(organization):
    items = list(make_batch(organization, 6).items.all())
    for item in items:
        payable(item, segment(item, price_micros=83), remembered_items=3)
    assert list(shown_text._recorded_micros) == [str(item.pk) for item in items[-3:]]
    # What is forgotten is written again, which changes nothing.
    assert texts_of(payable(item, segment(items[0], price_micros=83))) == ["hello"]


def test_watchers_that_ask_while_one_writes_share_the_next_write(item, monkeypatch):
    write_runs, may_write = threading.Event(), threading.Event()
    record_shown, writes = jobs.record_shown, []

    def held(*args, **kwargs):
        writes.append(kwargs["price_micros"])
        write_runs.set()
        assert may_write.wait(60)
        return record_shown(*args, **kwargs)

    monkeypatch.setattr(jobs, "record_shown", held)

    def ask(price_micros):
        told = [segment(item, price_micros=price_micros)]
        return asyncio.create_task(shown_text.payable(told, organization_id=item.job.organization_id))

    async def act():
        first = ask(1)
        assert await asyncio.to_thread(write_runs.wait, 60)
        others = [ask(price) for price in range(2, WATCHERS + 1)]
        # A task that asks has a task for each recording, which asks the batcher.
        for _ in range(2):
            await asyncio.sleep(0)
        may_write.set()
        return await asyncio.gather(first, *others)

    assert [texts_of(found) for found in asyncio.run(act())] == [["hello"]] * WATCHERS
    assert writes == [1, WATCHERS]
    assert recorded(item) == (1_000, WATCHERS)
