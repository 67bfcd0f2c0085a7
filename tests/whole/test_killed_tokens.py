"""A token's spend limit after kill -9: what it had held is charged or released once, and its limit is exact again.

With DATABASE_URL set, the product runs on that PostgreSQL and on REDIS_URL.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from tests import product
from tests.apex import scripted
from tests.apex.exchange import ScriptedUpstream
from tests.conftest import AUDIO
from tests.whole.customer import processes, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

# Streams of a token that its limit pays for at once.
STREAMS = 6
# A limit of so few tokens is held in full or refused, so every hold is the same.
MAX_TOKENS = 16
CHARGES = "SELECT -amount_micros, details FROM billing_entry WHERE kind = 'usage'"
SPENT = "SELECT spent_micros FROM billing_tokenspend WHERE token_id = ?"
OPEN_HOLDS = "SELECT amount_micros FROM billing_hold WHERE state = 'open' AND token_id = ?"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted.running() as server:
        yield server


@pytest.fixture(scope="module")
def site(upstream, tmp_path_factory) -> Iterator[product.Product]:
    switches = {"APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first"}
    folder = tmp_path_factory.mktemp("product")
    with product.given_services() as services, product.running(folder, **switches, **services) as running:
        yield running


class Server:
    """The server of a customer, which makes tokens for visitors."""

    def __init__(self, site: product.Product, owner: str) -> None:
        self.site, self.key = site, site.new_key(owner=owner, dollars="5")

    def post(self, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        headers = {"X-API-Key": self.key}
        answer = requests.post(f"{self.site.address}{path}", json=fields, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return dict(answer.json())

    def token(self, *, limit_micros: int, seconds: int) -> dict[str, Any]:
        return self.post(
            "/v1/tokens",
            {
                "scopes": ["chat", "transcribe"],
                "spend_limit_micros": limit_micros,
                "expires_in_seconds": seconds,
            },
        )

    def spent_micros(self, token: dict[str, Any]) -> int:
        address = f"{self.site.address}/v1/tokens/{token['id']}"
        return int(requests.get(address, headers={"X-API-Key": self.key}, timeout=60).json()["spent_micros"])


def body(content: str, *, stream: bool) -> dict[str, Any]:
    # Contents of one length, so that all prompts are estimated alike.
    message = {"role": "user", "content": content.ljust(16)}
    return {"model": "apex-latest", "stream": stream, "max_tokens": MAX_TOKENS, "messages": [message]}


def ask(site: product.Product, token: dict[str, Any], content: str, *, stream: bool) -> requests.Response:
    return requests.post(
        f"{site.address}/v1/apex/chat/completions",
        json=body(content, stream=stream),
        headers={"X-API-Key": token["secret"]},
        stream=stream,
        timeout=60,
    )


def number_of(token: dict[str, Any]) -> str:
    return str(token["id"]).replace("-", "")


def spent_micros(site: product.Product, token: dict[str, Any]) -> int:
    return sum(micros for (micros,) in site.rows(SPENT, key_of(site, token)))


def key_of(site: product.Product, token: dict[str, Any]) -> str:
    return str(token["id"]) if site.environment.get("DATABASE_URL") else number_of(token)


def charges_of(site: product.Product, token: dict[str, Any]) -> list[int]:
    """Return what the ledger's entries of a token took."""
    return [micros for micros, details in site.rows(CHARGES) if str(token["id"]) in str(details)]


def open_holds(site: product.Product, token: dict[str, Any]) -> list[int]:
    return [micros for (micros,) in site.rows(OPEN_HOLDS, key_of(site, token))]


def kill(site: product.Product, name: str) -> None:
    found = processes(site, name)
    assert found
    for process in found:
        process.kill()


def test_limit_of_a_token_is_exact_after_the_web_process_was_killed(site):
    server = Server(site, "killed-tokens@example.com")
    asked = {"kind": "chat", "request": body("slow 60 0.5", stream=True)}
    held_micros = server.post("/v1/estimate", asked)["held_micros"]
    limit_micros = STREAMS * held_micros
    lasting = server.token(limit_micros=limit_micros, seconds=3600)
    ending = server.token(limit_micros=limit_micros, seconds=20)
    assert ask(site, lasting, "normal 3", stream=False).status_code == 200
    # The answer does not wait for its charge.
    (charged_before,) = wait_for(lambda: charges_of(site, lasting), seconds=60, what="the answer was not charged")
    assert 0 < charged_before <= held_micros

    with ExitStack() as streams:
        for token in (lasting, ending):
            while (answer := streams.enter_context(ask(site, token, "slow 60 0.5", stream=True))).status_code == 200:
                assert next(answer.iter_lines()).startswith(b"data: ")
            # Only the limit ends this.
            assert (answer.status_code, answer.json()["error"]["type"]) == (402, "spend_limit_reached")
        assert open_holds(site, lasting) == [held_micros] * ((limit_micros - charged_before) // held_micros)
        assert open_holds(site, ending) == [held_micros] * STREAMS
        kill(site, "web")

    # The clock finds that nobody relays them any more. One of the tokens has ended before that.
    wait_for(
        lambda: not open_holds(site, lasting) + open_holds(site, ending), seconds=150, what="holds were not released"
    )
    assert charges_of(site, lasting) == [charged_before]
    assert charges_of(site, ending) == []
    assert (spent_micros(site, lasting), spent_micros(site, ending)) == (charged_before, 0)
    states = site.rows("SELECT state, finish FROM apex_completion WHERE finish <> 'stop'")
    assert set(states) == {("released", "process_died")}
    assert len(states) == STREAMS + (limit_micros - charged_before) // held_micros

    # What is left can be spent, and not a micro-dollar more.
    wait_for(lambda: is_up(site), seconds=120, what="web did not come back")
    while (answer := ask(site, lasting, "normal 3", stream=False)).status_code == 200:
        wait_for(lambda: not open_holds(site, lasting), seconds=60, what="an answer was not charged")
        assert sum(charges_of(site, lasting)) <= limit_micros
    assert (answer.status_code, answer.json()["error"]["type"]) == (402, "spend_limit_reached")
    spent = sum(charges_of(site, lasting))
    assert limit_micros - held_micros < spent <= limit_micros
    assert spent == spent_micros(site, lasting) == server.spent_micros(lasting)
    assert ask(site, ending, "normal 3", stream=False).status_code == 401
    site.manage("check_ledger")


def test_job_of_a_token_whose_worker_was_killed_is_charged_once_within_the_limit(site):
    server = Server(site, "killed-jobs-of-tokens@example.com")
    # The recording has 4 started seconds, at 300,000 micro-dollars an hour. The limit is for one of them.
    price_micros = 333
    token = server.token(limit_micros=price_micros, seconds=600)

    def submit() -> requests.Response:
        with (AUDIO / "sentence-slt.wav").open("rb") as file:
            return requests.post(
                f"{site.address}/v1/transcribe",
                headers={"X-API-Key": token["secret"]},
                files={"file": file},
                timeout=60,
            )

    job_id = submit().json()["job_id"]
    assert submit().status_code == 402
    # Whatever it is doing, also nothing yet: each worker that follows finds the job again.
    kill(site, "worker")
    job = f"{site.address}/v1/jobs/{job_id}"

    def state() -> dict[str, Any]:
        return dict(requests.get(job, headers={"X-API-Key": server.key}, timeout=60).json())

    wait_for(lambda: state()["status"] == "completed", seconds=240, what="the job was not taken up again")
    assert state()["token_id"] == token["id"]
    assert open_holds(site, token) == []
    assert charges_of(site, token) == [price_micros]
    assert spent_micros(site, token) == price_micros
    assert submit().status_code == 402
    site.manage("check_ledger")


def is_up(site: product.Product) -> bool:
    try:
        return requests.get(f"{site.address}/health", timeout=3).ok
    except requests.RequestException:
        return False
