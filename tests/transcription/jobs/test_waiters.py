import uuid

import pytest
from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from accounts import redis_connections
from transcription.jobs import waiters


@pytest.fixture
def redis_is_away(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    yield
    waiters._unwritten.clear()


def test_job_is_awaited_until_the_last_has_left():
    job_id = uuid.uuid4()
    assert not waiters.is_awaited(job_id)
    first, second = waiters.join(job_id), waiters.join(job_id)
    waiters.leave(job_id, name=first)
    waiters.leave(job_id, name=first)
    assert waiters.is_awaited(job_id)
    assert not waiters.is_awaited(uuid.uuid4())
    waiters.leave(job_id, name=second)
    assert not waiters.is_awaited(job_id)


def test_last_to_leave_is_known():
    job_id = uuid.uuid4()
    first, second = waiters.join(job_id), waiters.join(job_id)
    waiters.leave(job_id, name=first)
    assert waiters.has_left_last(job_id, name=first)
    waiters.leave(job_id, name=second)
    assert not waiters.has_left_last(job_id, name=first)
    assert waiters.has_left_last(job_id, name=second)
    assert not waiters.has_left_last(uuid.uuid4(), name=second)


def test_waiters_of_a_dead_process_are_forgotten_one_day():
    job_id = uuid.uuid4()
    waiters.join(job_id)
    with Redis.from_url(settings.REDIS_URL) as client:
        assert 0 < client.ttl(f"voxsite:waiters:{job_id}") <= settings.MAX_WAIT_SECONDS + waiters.SPARE_SECONDS


def test_waiters_of_a_killed_process_are_none():
    job_id = uuid.uuid4()
    name = waiters.join(job_id)
    with Redis.from_url(settings.REDIS_URL) as client:
        assert 0 < client.ttl(waiters._process_key(name.partition(":")[0])) <= waiters.SILENT_SECONDS
        # As one of a process that shows itself no more. The one of this process shows itself every few seconds.
        client.srem(waiters._key(job_id), name)
        client.sadd(waiters._key(job_id), "killed:1")
    assert not waiters.is_awaited(job_id)
    waiters.join(job_id)
    assert waiters.is_awaited(job_id)


def test_later_calls_are_known_by_their_mark():
    first, second, third = (uuid.uuid4() for _ in range(3))
    waiters.join(second, mark="m", called_at=1000.5)
    waiters.join(first, mark="m", called_at=1000.25)
    waiters.join(third, mark="n", called_at=1001)
    waiters.join(uuid.uuid4())
    assert waiters.later_calls("m", called_at=1000.25) == [second]
    assert waiters.later_calls("m", called_at=1000.5) == []
    assert waiters.later_calls("m", called_at=999) == [first, second]


def test_of_endless_equal_calls_the_last_are_known():
    job_ids = [uuid.uuid4() for _ in range(waiters.MAX_EQUAL_CALLS + 5)]
    for number, job_id in enumerate(job_ids):
        waiters.join(job_id, mark="m", called_at=1000.0 + number)
    assert waiters.later_calls("m", called_at=0) == job_ids[5:]
    with Redis.from_url(settings.REDIS_URL) as client:
        assert 0 < client.ttl("voxsite:equal-calls:m") <= settings.MAX_WAIT_SECONDS + waiters.SPARE_SECONDS


def test_job_is_abandoned_when_nobody_has_waited_for_the_grace(settings):
    settings.DISCONNECT_GRACE_SECONDS = 30
    job_id, other = uuid.uuid4(), uuid.uuid4()
    name = waiters.join(job_id)
    waiters.join(other)
    assert set(waiters.listed()) == {job_id, other}
    assert waiters.abandoned([job_id, other], now=1000) == []
    waiters.leave(job_id, name=name)
    assert waiters.abandoned([job_id, other], now=1100) == []
    assert waiters.abandoned([job_id, other], now=1129) == []
    assert waiters.abandoned([job_id, other], now=1130) == [job_id]
    # Somebody comes back, and leaves: a new grace begins.
    name = waiters.join(job_id)
    assert waiters.abandoned([job_id, other], now=1140) == []
    waiters.leave(job_id, name=name)
    assert waiters.abandoned([job_id, other], now=1150) == []
    waiters.unlist([job_id])
    assert waiters.listed() == [other]


@pytest.mark.enable_socket
def test_without_redis_nobody_knows_so_nothing_is_canceled(redis_is_away):
    name = waiters.join(uuid.uuid4())
    waiters.leave(uuid.uuid4(), name=name)
    assert waiters.is_awaited(uuid.uuid4())
    assert not waiters.has_left_last(uuid.uuid4(), name=name)
    waiters.unlist([uuid.uuid4()])
    assert waiters.listed() == waiters.abandoned([uuid.uuid4()], now=1000) == []
    assert waiters.later_calls("m", called_at=0) == []


def test_call_that_was_left_is_found_once():
    first, second = uuid.uuid4(), uuid.uuid4()
    assert not waiters.has_unanswered("m")
    for job_id in (first, second):
        waiters.note_unanswered("m", sha256="a", job_id=job_id, left_at=1000.25)
    assert waiters.has_unanswered("m")
    assert not waiters.has_unanswered("n")
    assert waiters.take_unanswered("m", sha256="b") is None
    assert waiters.take_unanswered("m", sha256="a") == (second, 1000.25)
    assert waiters.take_unanswered("m", sha256="a") is None
    assert not waiters.has_unanswered("m")


def test_note_of_the_version_before_has_no_time():
    job_id = uuid.uuid4()
    with Redis.from_url(settings.REDIS_URL) as client:
        client.hset("voxsite:unanswered:m", "a", str(job_id))
    assert waiters.take_unanswered("m", sha256="a") == (job_id, 0)


def test_call_that_was_left_is_forgotten_one_day(settings):
    waiters.note_unanswered("m", sha256="a", job_id=uuid.uuid4(), left_at=1000.0)
    with Redis.from_url(settings.REDIS_URL) as client:
        longest = settings.DISCONNECT_GRACE_SECONDS + settings.REPEAT_SECONDS
        assert 0 < client.ttl("voxsite:unanswered:m") <= longest


def test_waiter_that_comes_and_leaves_while_redis_rests_is_counted():
    job_id = uuid.uuid4()
    redis_connections.rest()
    name = waiters.join(job_id)
    # Redis answers again, so the rest is over.
    assert waiters.listed() == [job_id]
    assert waiters.is_awaited(job_id)
    redis_connections.rest()
    waiters.leave(job_id, name=name)
    assert not waiters.is_awaited(job_id)
    assert waiters.has_left_last(job_id, name=name)


@pytest.mark.enable_socket
def test_what_redis_did_not_take_is_told_again(settings):
    """Until then the process knows who waits in it."""
    here, job_id, left, kept = settings.REDIS_URL, uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    stays = waiters.join(left)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    waiters.expect(job_id)
    name = waiters.join(job_id, mark="m", called_at=1000.0)
    waiters.leave(left, name=stays)
    waiters.leave(left, name=waiters.join(left))
    waiters.keep(kept)
    waiters.note_unanswered("m", sha256="a", job_id=left, left_at=1000.0)
    settings.REDIS_URL = here
    redis_connections.forget()
    assert waiters.is_awaited(job_id)
    assert waiters.is_awaited(kept)
    waiters.write_again()
    assert not waiters._unwritten
    assert waiters.is_awaited(job_id)
    assert waiters.is_awaited(kept)
    assert not waiters.is_awaited(left)
    assert waiters.listed() == [left, job_id] or waiters.listed() == [job_id, left]
    assert waiters.later_calls("m", called_at=0) == [job_id]
    assert waiters.take_unanswered("m", sha256="a") == (left, 1000.0)
    waiters.leave(job_id, name=name)
    assert not waiters.is_awaited(job_id)


@pytest.mark.enable_socket
@pytest.mark.parametrize("is_taken", [True, False])
def test_who_leaves_while_their_coming_is_told_again_is_not_counted(settings, is_taken):
    """The thread that tells it has begun before they leave, and Redis takes it after that, or not at all."""
    here, job_id = settings.REDIS_URL, uuid.uuid4()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    name = waiters.join(job_id)
    settings.REDIS_URL = here
    redis_connections.forget()
    which = (waiters._WAITS, job_id, name)
    told = waiters._unwritten[which]

    def tell(pipeline):
        waiters.leave(job_id, name=name)
        if not is_taken:
            raise RedisError
        told(pipeline)

    waiters._unwritten[which] = tell
    waiters.write_again()
    waiters.write_again()
    assert which not in waiters._unwritten
    assert not waiters.is_awaited(job_id)


@pytest.mark.enable_socket
def test_what_redis_never_takes_fills_no_memory(redis_is_away):
    kept = waiters.MAX_UNWRITTEN
    waiters._unwritten.update({("note", uuid.uuid4(), ""): lambda pipeline: None for _ in range(kept)})
    job_id = uuid.uuid4()
    waiters.expect(job_id)
    assert len(waiters._unwritten) == kept
    assert ("expect", job_id, "") in waiters._unwritten


@pytest.mark.enable_socket
def test_without_redis_no_call_that_was_left_is_found(redis_is_away):
    waiters.note_unanswered("m", sha256="a", job_id=uuid.uuid4(), left_at=1000.0)
    assert not waiters.has_unanswered("m")
    assert waiters.take_unanswered("m", sha256="a") is None


def test_job_that_was_handed_over_counts_as_awaited_and_is_not_listed():
    job_id = uuid.uuid4()
    name = waiters.join(job_id)
    waiters.keep(job_id)
    assert job_id not in waiters.listed()
    waiters.leave(job_id, name=name)
    assert waiters.is_awaited(job_id)
    # A retry that joins and leaves does not end it either.
    waiters.leave(job_id, name=waiters.join(job_id))
    assert waiters.is_awaited(job_id)
    assert waiters.abandoned([job_id], now=1e12) == []


def test_job_is_handed_over_although_redis_is_away(redis_is_away):
    waiters.keep(uuid.uuid4())
