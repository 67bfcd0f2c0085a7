"""Items whose verification goes wrong on our side: each is tried again and ends by itself, whatever went wrong."""

import errno
from datetime import timedelta

import django_rq
import pytest
from botocore.exceptions import ClientError
from django.db import DatabaseError
from django.utils import timezone

from accounts.errors import NoRoom, TooManyUploads
from billing import ledger, statements
from tests.transcription.factories import make_submission
from tests.transcription.jobs.test_verification import SENTENCE, begin, receive
from transcription import jobs
from transcription.jobs import queue, shards, verification
from transcription.models import JobItem, Status
from transcription.recordings import storage
from transcription.speech.errors import DecoderUnavailable

FULL = OSError(errno.ENOSPC, "No space left on device")
BUCKET_FAILS = ClientError({"Error": {"Code": "500"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "GetObject")
FAULTS = [DecoderUnavailable("no zygote"), FULL, BUCKET_FAILS, RuntimeError("a bug"), DatabaseError("cut")]
# Later than any pause between two attempts.
LATER = timedelta(hours=1)


class Killed(BaseException):
    """Stands for the end of the process: nothing that is done with errors is done with it."""


@pytest.fixture
def pair(organization):
    """Return a job of two recordings that have come. The first one is the one that goes wrong."""
    bad, good = begin(organization, name="bad.wav"), begin(organization, name="good.wav")
    job = jobs.submit_uploads(make_submission(organization), uploads=[bad, good], name="two")
    receive(bad)
    receive(good)
    django_rq.get_queue("standard").empty()
    return job


@pytest.fixture
def faults(monkeypatch):
    """Return a list of what goes wrong with the file bad.wav, one after the other. With none left, nothing does."""
    left = []
    accept_stored = storage.accept_stored

    def accept(organization, *, name, **kwargs):
        if name == "bad.wav" and left:
            raise left.pop(0)
        return accept_stored(organization, name=name, **kwargs)

    monkeypatch.setattr(storage, "accept_stored", accept)
    return left


def run_clock():
    """Have the clock find what is lost, some time later, and a worker do it. Returns how many tasks there were."""
    jobs.reconcile(now=timezone.now() + LATER)
    JobItem.objects.filter(touched_at__gt=timezone.now()).update(touched_at=timezone.now())
    waiting = [task.args[0] for task in django_rq.get_queue("standard").jobs if task.func_name == queue.VERIFY_TASK]
    django_rq.get_queue("standard").empty()
    for item_id in waiting:
        jobs.verify_item(item_id)
    return len(waiting)


def bad(job):
    return job.items.get(position=0)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_item_that_always_fails_ends_and_the_others_go_on(organization, pair, faults, fault, caplog):
    faults.extend([fault] * 1000)
    for item in pair.items.all():
        jobs.verify_item(item.pk)
    assert (bad(pair).status, pair.items.get(position=1).media is not None) == (Status.VERIFYING, True)
    rounds = 0
    while run_clock():
        rounds += 1
        assert rounds < 20, "it is tried for ever"
    pair.refresh_from_db()
    item = bad(pair)
    assert (item.status, item.error_type) == (Status.FAILED, "internal_error")
    assert str(fault) not in item.error_message
    assert (pair.status, pair.items_failed, pair.duration_ms) == (Status.QUEUED, 1, SENTENCE.duration_ms)
    assert statements.balance(organization).held_micros == pair.quoted_micros > 0
    assert len(faults) == 1000 - verification.MAX_ATTEMPTS
    assert type(fault).__name__ in caplog.text


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_item_is_verified_once_the_fault_is_over(pair, faults, fault):
    faults.extend([fault] * (verification.MAX_ATTEMPTS - 1))
    for item in pair.items.all():
        jobs.verify_item(item.pk)
    while run_clock():
        pass
    pair.refresh_from_db()
    assert (pair.status, pair.items_failed) == (Status.QUEUED, 0)
    # What it took does not count against its transcription.
    assert set(pair.items.values_list("attempt", flat=True)) == {0}
    assert jobs.claim(bad(pair).pk).attempt == 1


def test_file_that_kills_each_worker_ends(pair, faults):
    faults.extend([Killed()] * 1000)
    for _ in range(verification.MAX_ATTEMPTS):
        with pytest.raises(Killed):
            jobs.verify_item(bad(pair).pk)
    jobs.verify_item(bad(pair).pk)
    assert (bad(pair).status, bad(pair).error_type) == (Status.FAILED, "worker_lost")
    assert len(faults) == 1000 - verification.MAX_ATTEMPTS


@pytest.mark.long
@pytest.mark.parametrize("fault", [NoRoom(retry_after=1), TooManyUploads(retry_after=1)])
def test_item_that_finds_no_place_to_be_probed_waits_for_one(pair, faults, fault):
    """Others are probed: that is no fault of this one, however long it takes."""
    faults.extend([fault] * 30)
    jobs.verify_item(bad(pair).pk)
    while run_clock():
        pass
    assert bad(pair).media is not None
    assert faults == []


def test_pauses_between_attempts_grow(pair, faults):
    """A bucket that is away for a quarter of an hour ends nothing."""
    faults.extend([BUCKET_FAILS] * 1000)
    pauses, begun_at = [], timezone.now()
    for _ in range(verification.MAX_ATTEMPTS):
        jobs.verify_item(bad(pair).pk)
        pauses.append((bad(pair).touched_at - timezone.now()).total_seconds())
    assert bad(pair).status == Status.FAILED
    assert pauses[:-1] == sorted(pauses[:-1])
    assert sum(pause for pause in pauses[:-1] if pause > 0) > 900
    assert timezone.now() - begun_at < timedelta(minutes=1)


def test_fault_of_one_stops_nothing_of_a_shard(pair, faults):
    faults.append(RuntimeError("a bug"))
    items = list(pair.items.all())
    django_rq.get_queue("bulk").enqueue_many([queue._task(item) for item in items])
    assert shards.go_on(queue="bulk", started=0, now=lambda: 0) == 2
    assert [item.media is None for item in pair.items.all()] == [True, False]


def test_job_whose_price_cannot_be_held_for_a_fault_of_ours_ends(organization, pair, monkeypatch):
    def reserve(*args, **kwargs):
        raise RuntimeError("a bug of the ledger")

    monkeypatch.setattr(ledger, "reserve", reserve)
    for item in pair.items.all():
        jobs.verify_item(item.pk)
    rounds = 0
    while run_clock():
        rounds += 1
        assert rounds < 20, "it is tried for ever"
    pair.refresh_from_db()
    assert (pair.status, pair.error_type, pair.items_left) == (Status.FAILED, "internal_error", 0)
    assert statements.balance(organization).held_micros == 0
