"""Rate limits of organizations, counted in Redis by a script (sliding window counter).

The script counts one or many organizations against one or many scopes in one round trip. The throttles of DRF read and
write in separate steps, so a burst can pass them. The library `limits` takes a call for each scope and one more for
what is left (docs/decisions/0053); it still reads the notation of the settings.
"""

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from django.conf import settings
from limits import RateLimitItem, parse
from redis import Redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError, RedisError

from accounts import redis_connections
from accounts.errors import RateLimited
from accounts.models import Organization

logger = logging.getLogger(__name__)

# Counts requests of several callers against the same scopes. A caller's request that one scope refuses does not count
# against the scopes after it.
#
# ARGV: the number of scopes; the amount and the milliseconds of each; the number of requests of each caller.
# KEYS: of each caller in turn, one for each scope: a hash of `s`, when its window began, `c`, the count of this window,
# and `p`, that of the window before, which weighs as much as is left of this one. A window begins with a request.
# Returns for each key: how many were admitted, how many more would be, milliseconds until that number grows. All as one
# text, which redis-py reads in a fraction of the time that it takes for a list.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local scopes = tonumber(ARGV[1])
local answer = {}
for caller = 0, #KEYS / scopes - 1 do
    local count = tonumber(ARGV[2 + 2 * scopes + caller])
    for scope = 1, scopes do
        local key = KEYS[caller * scopes + scope]
        local amount, period = tonumber(ARGV[2 * scope]), tonumber(ARGV[2 * scope + 1])
        local stored = redis.call('HMGET', key, 's', 'c', 'p')
        local start, current, previous = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3])
        if not start or now >= start + 2 * period or now < start then
            start, current, previous = now, 0, 0
        elseif now >= start + period then
            start, current, previous = start + period, 0, current
        end
        local left = start + period - now
        local room = math.max(0, amount - math.floor(previous * left / period) - current)
        local admitted = math.min(count, room)
        if admitted > 0 then
            current = current + admitted
            redis.call('HSET', key, 's', start, 'c', current, 'p', previous)
            redis.call('PEXPIREAT', key, start + 2 * period)
        end
        local reset = 0
        if current > 0 then reset = left end
        if previous > 0 then
            local next_one = left % (period / previous)
            if current == 0 or next_one < reset then reset = next_one end
        end
        answer[#answer + 1] = string.format('%.0f %.0f %.0f', admitted, room - admitted, math.ceil(reset))
        count = admitted
    end
end
return table.concat(answer, ' ')
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit: requests, and seconds until more of it is available."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds}s",
        }


@dataclass(frozen=True, slots=True)
class _Counted:
    """How many requests a scope admitted, and what is left of it then."""

    admitted: int
    allowance: Allowance

    def refusal(self) -> RateLimited:
        return RateLimited(retry_after=max(1, self.allowance.reset_seconds), headers=self.allowance.headers())


def spend(organization: Organization, *, scope: str) -> Allowance:
    """Count one request against a scope, and return what is left. Raises RateLimited if nothing is left.

    scope: a name of `settings.RATE_LIMITS`.
    """
    (result,) = spend_together(organization, scopes=[scope], count=1)
    if isinstance(result, RateLimited):
        raise result
    return result


def spend_of_address(address: str, *, scope: str) -> None:
    """Count one request of a visitor against a scope, by the address of the network. Raises RateLimited."""
    caller = uuid.uuid5(uuid.NAMESPACE_URL, f"address:{address}")
    (result,) = spend_for_each({caller: 1}, scopes=[scope])[caller]
    if isinstance(result, RateLimited):
        raise result


def spend_together(
    organization: Organization, *, scopes: Sequence[str], count: int
) -> Sequence[Allowance | RateLimited]:
    """Count several requests against each of the scopes. Return for each request what is left of the last scope."""
    return spend_for_each({organization.pk: count}, scopes=scopes)[organization.pk]


def spend_for_each(
    counts: Mapping[uuid.UUID, int], *, scopes: Sequence[str]
) -> dict[uuid.UUID, list[Allowance | RateLimited]]:
    """Count requests of several organizations against each of the scopes, in one call to Redis.

    counts: the number of requests of each organization, by its id.
    Returns for each request of each organization what is left of the last scope, or why it is refused. The admitted
    ones come first.
    """
    with Counting(counts, scopes=scopes) as counting:
        return counting.results()


class Counting:
    """A count of requests that Redis was asked for, as by `spend_for_each`. The caller may do other work meanwhile.

    It is a context: at its end, an answer that nobody wanted is read, so that the connection can be used again.
    """

    def __init__(self, counts: Mapping[uuid.UUID, int], *, scopes: Sequence[str]) -> None:
        self._counts = counts
        self._scopes = scopes
        self._question = _asked(counts, scopes=scopes)
        self._is_read = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_read:
            self.results()

    def results(self) -> dict[uuid.UUID, list[Allowance | RateLimited]]:
        """Wait for the answer, and return what `spend_for_each` does. Call it once."""
        self._is_read = True
        counted = _counted(self._question, self._counts, scopes=self._scopes)
        if counted is None:
            # The database protects money, so it is better to serve without a rate limit than not at all.
            amount = _limit(self._scopes[-1]).amount
            return {
                organization_id: [Allowance(limit=amount, remaining=amount, reset_seconds=0)] * count
                for organization_id, count in self._counts.items()
            }
        return {
            organization_id: _results(counted[organization_id], count=count)
            for organization_id, count in self._counts.items()
        }


def refuse_if_spent(organization: Organization, *, scope: str) -> None:
    """Raise RateLimited if `spend` would, without counting. Used before a large body is read."""
    counts = {organization.pk: 0}
    every = _counted(_asked(counts, scopes=[scope]), counts, scopes=[scope])
    if every is None:
        return
    (counted,) = every[organization.pk]
    if not counted.allowance.remaining:
        raise counted.refusal()


class _Question:
    """A run of the script that was sent to Redis on a connection of the pool. Its answer must be read.

    redis-py's client takes twice the time of the connection below it, which is a tenth of an admission of the chat
    endpoint, and it cannot be asked without waiting (redis-py 7.4). It would not try again either: the pool has no
    retries.
    """

    def __init__(self, script: Script, *, keys: Sequence[str], args: Sequence[int]) -> None:
        """Raise RedisError if it cannot be sent."""
        self._script, self._keys, self._args = script, keys, args
        self._pool = script.registered_client.connection_pool
        connection: Any = self._pool.get_connection()  # redis-py has no types here
        self._connection = connection
        try:
            connection.send_command("EVALSHA", script.sha, len(keys), *keys, *args)
        except BaseException:
            self._pool.release(connection)
            raise

    def answer(self) -> list[int]:
        """Wait for the answer. Raises RedisError."""
        try:
            answer = self._connection.read_response()
        except NoScriptError:
            # Redis was started anew.
            answer = None
        finally:
            self._pool.release(self._connection)
        if answer is None:
            answer = self._script(keys=self._keys, args=self._args)
        return [int(number) for number in answer.split()]


def _asked(counts: Mapping[uuid.UUID, int], *, scopes: Sequence[str]) -> _Question | None:
    """Send the script. Returns None while Redis does not answer."""
    items = [_limit(scope) for scope in scopes]
    keys = [
        f"rate:{scope}:{item.amount}:{item.get_expiry()}:{organization_id}"
        for organization_id in counts
        for scope, item in zip(scopes, items, strict=True)
    ]
    limits_of_scopes = [number for item in items for number in (item.amount, item.get_expiry() * 1000)]
    try:
        return _Question(_limiter(), keys=keys, args=[len(scopes), *limits_of_scopes, *counts.values()])
    except RedisError as error:
        _note_outage(error)
        return None


def _counted(
    question: _Question | None, counts: Mapping[uuid.UUID, int], *, scopes: Sequence[str]
) -> dict[uuid.UUID, list[_Counted]] | None:
    """Return for each organization what each scope says, or None while Redis does not answer."""
    if question is None:
        return None
    try:
        found = iter(question.answer())
    except RedisError as error:
        _note_outage(error)
        return None
    items = [_limit(scope) for scope in scopes]
    return {
        organization_id: [
            _Counted(
                admitted=next(found),
                allowance=Allowance(
                    limit=item.amount, remaining=next(found), reset_seconds=math.ceil(next(found) / 1000)
                ),
            )
            for item in items
        ]
        for organization_id in counts
    }


def _note_outage(error: RedisError) -> None:
    if isinstance(error, redis_connections.Resting):
        return
    redis_connections.rest()
    logger.error("Rate limits are not counted: Redis does not answer.", exc_info=error)


def _results(counted: Sequence[_Counted], *, count: int) -> list[Allowance | RateLimited]:
    """Return the result of each request of one organization. counted: of each scope, in order."""
    last = counted[-1]
    allowances = [
        Allowance(
            limit=last.allowance.limit,
            remaining=last.allowance.remaining + later,
            reset_seconds=last.allowance.reset_seconds,
        )
        for later in reversed(range(last.admitted))
    ]
    asked = [count, *(each.admitted for each in counted[:-1])]
    refused = [
        each.refusal()
        for each, of_it in reversed(list(zip(counted, asked, strict=True)))
        for _ in range(of_it - each.admitted)
    ]
    return [*allowances, *refused]


@lru_cache
def _limit(scope: str) -> RateLimitItem:
    return parse(settings.RATE_LIMITS[scope])


def _limiter() -> Script:
    return _limiter_of(redis_connections.client())


@lru_cache
def _limiter_of(client: Redis) -> Script:
    return client.register_script(SCRIPT)
