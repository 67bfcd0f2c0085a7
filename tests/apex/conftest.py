"""Fixtures: a running web process with a scripted upstream behind it, one for all tests of a file."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.apex import exchange, scripted
from tests.apex import site as sites
from tests.apex.admitting import with_an_upstream  # noqa: F401  # a fixture

SWITCHES = {
    "APEX_FIRST_CHUNK_SECONDS": "2",
    "APEX_IDLE_SECONDS": "1",
    "APEX_KEEP_ALIVE_SECONDS": "3",
    "APEX_TOTAL_SECONDS": "6",
    "APEX_DRAIN_SECONDS": "1",
    "APEX_CONNECT_SECONDS": "1",
    "APEX_RECOVERY_SECONDS": "2",
    "VOXSITE_WEB_STALL_SECONDS": "1",
    "APEX_MAX_OPEN": "8",
    "VOXSITE_SIGNUP_CREDIT_CENTS": "0",
    "VOXSITE_RATE_COMPLETIONS": "100000/minute",
    "VOXSITE_RATE_REQUESTS": "100000/minute",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[exchange.ScriptedUpstream]:
    with scripted.running() as server:
        yield server


@pytest.fixture(autouse=True)
def fresh_upstream(request: pytest.FixtureRequest) -> None:
    if "upstream" in request.fixturenames:
        request.getfixturevalue("upstream").forget()


@pytest.fixture(scope="module")
def site(upstream: exchange.ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sites.Site]:
    switches = {
        "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
        "APEX_UPSTREAM_API_KEY": exchange.SECRET,
        **SWITCHES,
    }
    with sites.running(tmp_path_factory.mktemp("site"), **switches) as running:
        yield running


@pytest.fixture(scope="module")
def keys(site: sites.Site) -> dict[str, str]:
    """API keys by the address of the owner. The names say what is in the wallets, or becomes of the slots."""
    small = {"small@example.com": "0.00005", "empty@example.com": "0.00001"}
    return site.new_keys({"ann@example.com": "20", "crowded@example.com": "1", "free@example.com": "1", **small})


@pytest.fixture(scope="module")
def key(keys: dict[str, str]) -> str:
    return keys["ann@example.com"]


Ask = Callable[..., requests.Response]


@pytest.fixture
def ask(site: sites.Site, key: str) -> Ask:
    def post(content: str = "normal", *, headers: dict[str, str] | None = None, **fields: Any) -> requests.Response:
        body = {"model": "apex-latest", "messages": [{"role": "user", "content": content}], **fields}
        return requests.post(
            f"{site.address}/v1/apex/chat/completions",
            headers={"X-API-Key": key, **(headers or {})},
            json=body,
            timeout=30,
        )

    return post
