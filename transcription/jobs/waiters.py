"""Who waits for the end of a job, counted in Redis, because a retry may reach another process than the first request.

Only a client that left is taken off. Whoever was answered needs no counting, since the job has ended then. The waiters
of a process that died are none: while it lives, each process that has waiters writes a heartbeat. All jobs that were
waited for are in one list, in which the clock looks for those that nobody waits for any more.

What Redis does not take when it is told is kept by the process, which tells it again with its next heartbeats. Until
then the process knows for itself who waits in it.
"""

import logging
import os
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import cast

from django.conf import settings
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from accounts import redis_connections

logger = logging.getLogger(__name__)

# More than the longest wait and the grace after it.
SPARE_SECONDS = 3600
# How often a process shows that it lives, and how long it counts as alive after the last time.
HEARTBEAT_SECONDS = 5.0
SILENT_SECONDS = 60
# How long it is known that a job was handed over: while a retry may join it.
KEPT_SECONDS = 25 * 3600
# Of so many equal calls it is known which came later. Who sends one recording for ever fills no memory with it.
MAX_EQUAL_CALLS = 100
# Jobs that were waited for, each with the time since which nobody waits for it, 0 while somebody does.
_JOBS_KEY = "voxsite:awaited"
# What Redis has not taken yet, by what it is about: (what, job, waiter). The oldest is given up for more than this.
MAX_UNWRITTEN = 10_000
_WAITS, _KEPT = "join", "keep"
_Which = tuple[str, uuid.UUID, str]
_Write = Callable[[Pipeline], None]
_unwritten: dict[_Which, _Write] = {}
_lock = threading.Lock()


def expect(job_id: uuid.UUID) -> None:
    """Note that somebody is about to wait for a job: it is canceled if nobody joins."""

    def listed(pipeline: Pipeline) -> None:
        pipeline.zadd(_JOBS_KEY, {str(job_id): 0})

    # In the transaction that submits the job, which holds the wallet: a Redis that rests is not asked.
    _write(redis_connections.client(), ("expect", job_id, ""), listed)


def join(job_id: uuid.UUID, *, mark: str = "", called_at: float = 0.0) -> str:
    """Note that somebody waits for a job. Returns the name by which they leave.

    mark: equal for equal calls, apart from what is in their recordings. Then `later_calls` finds this one, which came
    at called_at (seconds since the epoch).
    """
    process = _process(os.getpid())
    name = f"{process}:{secrets.token_hex(8)}"

    def joined(pipeline: Pipeline) -> None:
        # First: a waiter without a living process is none.
        pipeline.set(_process_key(process), 1, ex=SILENT_SECONDS)
        pipeline.sadd(_key(job_id), name)
        pipeline.expire(_key(job_id), settings.MAX_WAIT_SECONDS + SPARE_SECONDS)
        pipeline.zadd(_JOBS_KEY, {str(job_id): 0})
        if mark:
            pipeline.zadd(_calls_key(mark), {str(job_id): called_at})
            pipeline.zremrangebyrank(_calls_key(mark), 0, -MAX_EQUAL_CALLS - 1)
            pipeline.expire(_calls_key(mark), settings.MAX_WAIT_SECONDS + SPARE_SECONDS)

    _write(redis_connections.asking_client(), (_WAITS, job_id, name), joined)
    return name


def later_calls(mark: str, *, called_at: float) -> list[uuid.UUID]:
    """Return the jobs of the calls with this mark that came later, as far as they are known. They may have ended."""
    try:
        found = redis_connections.client().zrangebyscore(_calls_key(mark), f"({called_at!r}", "+inf")
        return [uuid.UUID(member.decode()) for member in cast("list[bytes]", found)]
    except RedisError:
        return []


def leave(job_id: uuid.UUID, *, name: str) -> None:
    """Note that somebody does not wait for a job any more."""

    def left(pipeline: Pipeline) -> None:
        pipeline.srem(_key(job_id), name)
        pipeline.set(_last_key(job_id), name, ex=settings.DISCONNECT_GRACE_SECONDS + SPARE_SECONDS)

    with _lock:
        _unwritten.pop((_WAITS, job_id, name), None)
    _write(redis_connections.asking_client(), ("leave", job_id, name), left)


def note_unanswered(mark: str, *, sha256: str, job_id: uuid.UUID, left_at: float) -> None:
    """Note that somebody left a job without an answer: an equal call may come.

    mark: equal for equal calls, apart from what is in their recordings. sha256: of the recording, "" for one at a URL.
    left_at: in seconds since the epoch.
    """

    def noted(pipeline: Pipeline) -> None:
        pipeline.hset(_unanswered_key(mark), sha256, f"{job_id} {left_at!r}")
        pipeline.expire(_unanswered_key(mark), settings.DISCONNECT_GRACE_SECONDS + settings.REPEAT_SECONDS)

    _write(redis_connections.asking_client(), ("note", job_id, ""), noted)


def has_unanswered(mark: str) -> bool:
    """Tell whether a call with this mark was left without an answer."""
    try:
        return bool(redis_connections.client().exists(_unanswered_key(mark)))
    except RedisError:
        return False


def take_unanswered(mark: str, *, sha256: str) -> tuple[uuid.UUID, float] | None:
    """Return (job, when it was left) of the last call that was left without an answer.

    It is forgotten then: one call is its repeat.
    """
    try:
        with redis_connections.client().pipeline(transaction=True) as pipeline:
            pipeline.hget(_unanswered_key(mark), sha256)
            pipeline.hdel(_unanswered_key(mark), sha256)
            found, _ = cast("tuple[bytes | None, int]", pipeline.execute())
    except RedisError:
        return None
    if found is None:
        return None
    # Processes of the version before wrote no time.
    job_id, _, left_at = found.decode().partition(" ")
    return uuid.UUID(job_id), float(left_at or 0)


def has_left_last(job_id: uuid.UUID, *, name: str) -> bool:
    """Tell whether nobody has left a job after this one. False when Redis does not answer: the clock looks later."""
    try:
        return cast("bytes | None", redis_connections.client().get(_last_key(job_id))) == name.encode()
    except RedisError:
        return False


def keep(job_id: uuid.UUID) -> None:
    """Note that a job runs on although nobody waits: its caller was told its id, and asks for it later."""

    def kept(pipeline: Pipeline) -> None:
        pipeline.set(_kept_key(job_id), 1, ex=KEPT_SECONDS)
        pipeline.zrem(_JOBS_KEY, str(job_id))

    _write(redis_connections.asking_client(), (_KEPT, job_id, ""), kept)


def is_awaited(job_id: uuid.UUID) -> bool:
    """Tell whether anybody waits for a job, or was told to ask for it later. True when Redis does not answer."""
    with _lock:
        if any(what in {_WAITS, _KEPT} and whose == job_id for what, whose, _ in _unwritten):
            return True
    try:
        client = redis_connections.client()
        if client.exists(_kept_key(job_id)):
            return True
        # redis-py types the answers of its blocking client as those of the other one too.
        names = cast("set[bytes]", client.smembers(_key(job_id)))
        processes = {name.decode().partition(":")[0] for name in names}
        return bool(processes) and bool(client.exists(*map(_process_key, processes)))
    except RedisError:
        return True


def abandoned(job_ids: Iterable[uuid.UUID], *, now: float) -> list[uuid.UUID]:
    """Return those of the listed jobs for which nobody has waited for the grace.

    now: seconds since the epoch. The grace of a job begins when this is first called while nobody waits for it.
    """
    found = []
    try:
        client = redis_connections.client()
        for job_id in job_ids:
            since = cast("float | None", client.zscore(_JOBS_KEY, str(job_id))) or 0.0
            alone_since = 0.0 if is_awaited(job_id) else since or now
            if alone_since != since:
                client.zadd(_JOBS_KEY, {str(job_id): alone_since}, xx=True)
            if alone_since and now - alone_since >= settings.DISCONNECT_GRACE_SECONDS:
                found.append(job_id)
    except RedisError as error:
        logger.warning("Jobs that nobody waits for are not looked for: %s", type(error).__name__)
    return found


def listed() -> list[uuid.UUID]:
    """Return all jobs that are listed as waited for."""
    try:
        members = cast("list[bytes]", redis_connections.client().zrange(_JOBS_KEY, 0, -1))
        return [uuid.UUID(member.decode()) for member in members]
    except RedisError:
        return []


def unlist(job_ids: Iterable[uuid.UUID]) -> None:
    """Take jobs off the list that have ended."""
    members = [str(job_id) for job_id in job_ids]
    try:
        if members:
            redis_connections.client().zrem(_JOBS_KEY, *members)
    except RedisError as error:
        logger.warning("Jobs that have ended stay listed: %s", type(error).__name__)


def write_again() -> None:
    """Tell Redis what it did not take before, in the same order. The thread of the heartbeat does this."""
    with _lock:
        unwritten = list(_unwritten.items())
    for which, write in unwritten:
        with _lock:
            if _unwritten.get(which) is not write:
                continue  # They have left meanwhile.
        if not _write(redis_connections.asking_client(), which, write, is_again=True):
            return


def _write(client: Redis, which: _Which, write: _Write, *, is_again: bool = False) -> bool:
    """Tell Redis something, or keep it to be told later. Returns whether Redis took it.

    is_again: it was kept before. Who has left meanwhile, in another thread, must not be counted by it after that.
    """
    try:
        with client.pipeline(transaction=False) as pipeline:
            write(pipeline)
            pipeline.execute()
    except RedisError as error:
        what, job_id, _ = which
        with _lock:
            if not is_again or which in _unwritten:
                _unwritten[which] = write
            if len(_unwritten) > MAX_UNWRITTEN:
                del _unwritten[next(iter(_unwritten))]
        logger.warning("Redis is told later about job %s (%s): %s", job_id, what, type(error).__name__)
        return False
    with _lock:
        was_kept = _unwritten.pop(which, None) is not None
    what, job_id, name = which
    if is_again and not was_kept and what == _WAITS:
        leave(job_id, name=name)
    return True


@lru_cache
def _process(_pid: int) -> str:
    """Return the name of this process, and have a thread of it show that it lives.

    Of two first calls at one moment each may get a name. Then the process has both, and a heartbeat for each.
    """
    name = secrets.token_hex(8)
    threading.Thread(target=_show_life, args=(name,), name="waiters", daemon=True).start()
    return name


def _show_life(process: str) -> None:
    pause = threading.Event()
    while not pause.wait(HEARTBEAT_SECONDS):
        try:
            redis_connections.asking_client().set(_process_key(process), 1, ex=SILENT_SECONDS)
        except RedisError as error:
            logger.warning("The heartbeat of waiting calls was not written: %s", type(error).__name__)
        else:
            write_again()


def _key(job_id: uuid.UUID) -> str:
    return f"voxsite:waiters:{job_id}"


def _last_key(job_id: uuid.UUID) -> str:
    return f"voxsite:last-waiter:{job_id}"


def _calls_key(mark: str) -> str:
    return f"voxsite:equal-calls:{mark}"


def _unanswered_key(mark: str) -> str:
    return f"voxsite:unanswered:{mark}"


def _kept_key(job_id: uuid.UUID) -> str:
    return f"voxsite:kept:{job_id}"


def _process_key(process: str) -> str:
    return f"voxsite:waiting-process:{process}"
