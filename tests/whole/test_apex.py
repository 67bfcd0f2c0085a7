"""The ledger stays exact with 200 streams, clients that disconnect, a failing upstream and a killed web process.

With DATABASE_URL set, the product runs on that PostgreSQL and on REDIS_URL.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import psutil
import pytest

from apex.usage_meter import Rates
from tests import product
from tests.apex import exchange, scripted

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(400)]

STREAMS = 200
RATES = Rates(prompt_micros=300_000, completion_micros=450_000)
MAKE_KEYS = f"""
import json
from accounts import api_keys
from accounts.models import Organization
organization = Organization.objects.order_by('-created_at').first()
made = [api_keys.issue(organization, name=str(n), by=None) for n in range({STREAMS})]
print(json.dumps([(row.pk.hex, key) for row, key in made]))
"""


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[exchange.ScriptedUpstream, exchange.ScriptedUpstream, Any]]:
    with scripted.running() as second:
        first = scripted.running()
        server = first.__enter__()
        ended = []

        def kill() -> None:
            if not ended:
                ended.append(True)
                first.__exit__(None, None, None)

        yield server, second, kill
        kill()


@pytest.fixture(scope="module")
def site(upstreams, tmp_path_factory):
    first, second, _ = upstreams
    switches = {
        "APEX_UPSTREAM_BASE_URL": f"{first.address}/first",
        "APEX_UPSTREAM_2_BASE_URL": f"{second.address}/second",
        "VOXSITE_MAX_API_KEYS": "500",
        "VOXSITE_RATE_COMPLETIONS": "100000/minute",
        "APEX_MAX_OPEN": str(STREAMS),
    }
    folder = tmp_path_factory.mktemp("product")
    with product.given_services() as services, product.running(folder, **switches, **services) as running:
        yield running


async def call(site: product.Product, session: aiohttp.ClientSession, key: str, tag: int, *, leaves: bool) -> None:
    """Read a stream to its end, or leave it at a random moment. Errors are expected: the test breaks connections."""
    await asyncio.sleep(random.uniform(0, 1.5))
    body = {
        "model": "apex-latest",
        "messages": [{"role": "user", "content": f"slow {random.randint(10, 40)} 0.1 {tag}"}],
        "stream": True,
    }
    try:
        async with asyncio.timeout(random.uniform(0.01, 3) if leaves else 60):
            async with session.post(
                f"{site.address}/v1/apex/chat/completions", json=body, headers={"X-API-Key": key}
            ) as response:
                await response.read()
    except (TimeoutError, aiohttp.ClientError):
        pass


def web(site: product.Product) -> psutil.Process:
    below = psutil.Process(site.process.pid).children(recursive=True)
    return next(process for process in below if "voxsite.serve.child web" in " ".join(process.cmdline()))


def test_every_completion_has_one_charge_or_one_release(site, upstreams):
    first, second, kill_upstream = upstreams
    site.new_key(owner="crowd@example.com", dollars="500")
    keys = json.loads(site.manage("shell", "--no-imports", "-c", MAKE_KEYS).splitlines()[-1])

    async def crowd(tags: range) -> list[asyncio.Task[None]]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            tasks = [asyncio.create_task(call(site, session, keys[tag][1], tag, leaves=tag % 3 == 0)) for tag in tags]
            await asyncio.sleep(2.5)
            await asyncio.to_thread(kill_upstream if tags.start == 0 else web(site).kill)
            await asyncio.gather(*tasks)

    asyncio.run(crowd(range(STREAMS * 3 // 4)))
    asyncio.run(crowd(range(STREAMS * 3 // 4, STREAMS)))
    deadline = time.monotonic() + 120
    while site.rows("SELECT 1 FROM apex_completion WHERE state = 'running' LIMIT 1"):
        assert time.monotonic() < deadline
        time.sleep(1)

    assert site.rows("SELECT sum(held_micros) FROM billing_wallet") == [(0,)]
    entries: dict[str, list[int]] = {}
    for reference, amount in site.rows("SELECT reference, amount_micros FROM billing_entry WHERE kind = 'usage'"):
        entries.setdefault(reference.removeprefix("chat:").replace("-", ""), []).append(-amount)
    produced = {}
    for server in (first, second):
        by_id = {f"chatcmpl-{number}": body for number, body in enumerate(server.bodies, start=1)}
        for name, record in server.produced.items():
            produced[int(by_id[name]["messages"][-1]["content"].split()[3])] = record
    tags = {key_id: tag for tag, (key_id, _) in enumerate(keys)}
    seen: dict[str, int] = {}
    columns = "id, api_key_id, state, source, cost_micros, prompt_tokens, completion_tokens, finish"
    completions = site.rows(f"SELECT {columns} FROM apex_completion")
    for completion_id, key_id, state, source, cost, prompt_tokens, completion_tokens, finish in completions:
        seen[f"{state} {source} {finish}".strip()] = seen.get(f"{state} {source} {finish}".strip(), 0) + 1
        if state == "released":
            assert completion_id not in entries
            continue
        assert entries.pop(completion_id) == [cost]
        record = produced[tags[key_id]]
        if source == "upstream":
            assert record.is_whole
            assert (prompt_tokens, completion_tokens) == (record.prompt_tokens, record.completion_tokens)
        else:
            # "word12 " is two or three tokens, and words that were on their way when the upstream died did not arrive.
            assert 0 < completion_tokens <= 3 * record.completion_tokens
        assert cost == RATES.price_micros(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    assert entries == {}
    print(seen)
    # Without all kinds of ends the test would have tested nothing.
    assert {"charged upstream stop", "charged counted upstream_failed", "released  process_died"} <= set(seen)
    assert len(completions) > STREAMS // 2
    spent = sum(cost for _, _, _, _, cost, *_ in completions)
    assert site.rows("SELECT -sum(amount_micros) FROM billing_entry WHERE kind = 'usage'") == [(spent,)]
