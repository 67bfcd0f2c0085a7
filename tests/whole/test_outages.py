"""Parts that go away, hang or are full, and come back: what callers are told meanwhile, and how soon all is well again.

Each test prints its figures (`pytest -s`), which depend on the machine and are not compared.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests

from tests import product
from tests.conftest import AUDIO
from tests.product import Product
from tests.whole.customer import faults_of_ledger, processes, wait_for
from tests.whole.own_services import OwnPostgres, OwnRedis, postgres_binaries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.timeout(900),
    pytest.mark.skipif(postgres_binaries() is None, reason="needs PostgreSQL's own programs: initdb and postgres"),
]

EMAIL, PASSWORD = "outage@example.com", "quiet river 42"
# Longer than a client should wait. What is answered later fails the test by its exception.
PATIENCE_SECONDS = 10
OUTAGE_SECONDS = 6
SETTLE_SECONDS = 400


@dataclass
class World:
    site: Product
    redis: OwnRedis
    postgres: OwnPostgres
    key: str

    def ask(self, name: str) -> requests.Response:
        return QUESTIONS[name](self)


def api(world: World) -> requests.Response:
    address = f"{world.site.address}/v1/balance"
    return requests.get(address, headers={"X-API-Key": world.key}, timeout=PATIENCE_SECONDS)


def submission(world: World) -> requests.Response:
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        return requests.post(
            f"{world.site.address}/v1/transcribe",
            headers={"X-API-Key": world.key},
            files={"file": file},
            timeout=PATIENCE_SECONDS,
        )


def openai(world: World) -> requests.Response:
    address = f"{world.site.address}/v1/apex/models"
    return requests.get(address, headers={"Authorization": f"Bearer {world.key}"}, timeout=PATIENCE_SECONDS)


def sign_in(world: World, *, password: str = PASSWORD) -> requests.Response:
    """Sign in as a browser does, and return the page behind it, or the first answer that was no success."""
    with requests.Session() as browser:
        page = browser.get(f"{world.site.address}/accounts/login/", timeout=PATIENCE_SECONDS)
        if page.status_code != 200:
            return page
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token
        fields = {"login": EMAIL, "password": password, "csrfmiddlewaretoken": token[1]}
        return browser.post(
            f"{world.site.address}/accounts/login/",
            data=fields,
            headers={"Referer": world.site.address},
            timeout=PATIENCE_SECONDS,
        )


def home(world: World) -> requests.Response:
    return requests.get(f"{world.site.address}/pricing/", timeout=PATIENCE_SECONDS)


def webhook(world: World) -> requests.Response:
    headers = {"Stripe-Signature": "t=1,v1=00"}
    return requests.post(f"{world.site.address}/stripe/webhook", data=b"{}", headers=headers, timeout=PATIENCE_SECONDS)


def ready(world: World) -> requests.Response:
    return requests.get(f"{world.site.address}/health/ready", timeout=PATIENCE_SECONDS)


def serving(world: World) -> requests.Response:
    return requests.get(f"{world.site.address}/health/serving", timeout=PATIENCE_SECONDS)


QUESTIONS: dict[str, Callable[[World], requests.Response]] = {
    "api": api,
    "submission": submission,
    "models": openai,
    "sign-in": sign_in,
    "page": home,
    "webhook": webhook,
    "ready": ready,
}
GOOD = {"api": 200, "submission": 201, "models": 200, "sign-in": 200, "page": 200, "webhook": 400, "ready": 200}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    binaries = postgres_binaries()
    assert binaries is not None
    redis = OwnRedis(tmp_path_factory.mktemp("redis"))
    postgres = OwnPostgres(binaries)
    redis.start()
    postgres.start()
    try:
        folder = tmp_path_factory.mktemp("product")
        with product.running_first(folder, DATABASE_URL=postgres.url, REDIS_URL=redis.url) as site:
            key = site.new_key(owner="outages@example.com")
            code = "from accounts.models import User; from allauth.account.models import EmailAddress; "
            code += f"user = User.objects.create_user({EMAIL!r}, {PASSWORD!r}); "
            code += "EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)"
            site.manage("shell", "--no-imports", "-c", code)
            yield World(site, redis, postgres, key)
    finally:
        redis.stop()
        postgres.remove()


def timed(world: World, name: str) -> tuple[int, float, requests.Response]:
    begun = time.monotonic()
    response = world.ask(name)
    return response.status_code, time.monotonic() - begun, response


def during(world: World, what: str) -> dict[str, requests.Response]:
    """Ask everything at once, as callers do, and print how long each answer took."""
    answers: dict[str, tuple[int, float, requests.Response]] = {}

    def ask(name: str) -> None:
        answers[name] = timed(world, name)

    for moment in ("first", "later"):
        threads = [threading.Thread(target=ask, args=(name,)) for name in QUESTIONS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        missing = set(QUESTIONS) - set(answers)
        assert not missing, f"{what}: {missing} had no answer within {PATIENCE_SECONDS} s"
        print(
            f"\n{what}, {moment}: "
            + ", ".join(f"{name} {answers[name][0]} {answers[name][1]:.2f} s" for name in answers)
        )
        time.sleep(OUTAGE_SECONDS if moment == "first" else 0)
    return {name: response for name, (_, _, response) in answers.items()}


def after(world: World, what: str, *, since: float) -> None:
    """Ask until everything is well, and print when each was."""
    recovered: dict[str, float] = {}

    def ask(name: str) -> None:
        while time.monotonic() < since + 60:
            try:
                if world.ask(name).status_code == GOOD[name]:
                    recovered[name] = time.monotonic() - since
                    return
            except requests.RequestException:
                pass  # the last one is what counts
            time.sleep(0.05)

    threads = [threading.Thread(target=ask, args=(name,)) for name in QUESTIONS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{what}, back: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in sorted(recovered.items())))
    assert set(recovered) == set(QUESTIONS)


def settled(world: World) -> None:
    """Wait for all jobs, and look through the ledger."""
    unfinished = "SELECT id, status, attempt, touched_at FROM transcription_jobitem WHERE finished_at IS NULL"
    try:
        wait_for(lambda: not world.site.rows(unfinished), seconds=SETTLE_SECONDS, what="a job did not end")
    except AssertionError as failure:
        log = (world.site.folder / "server.log").read_text()[-10_000:]
        failure.add_note(f"{world.site.rows(unfinished)}\n{log}")
        raise
    assert faults_of_ledger(world.site) == []
    world.site.manage("check_ledger")


def is_served(answers: dict[str, requests.Response], *names: str) -> None:
    assert {name: answers[name].status_code for name in names} == {name: GOOD[name] for name in names}


def is_red(answers: dict[str, requests.Response], part: str) -> None:
    assert answers["ready"].status_code == 503
    assert answers["ready"].json()["checks"][part] == "failed"


@pytest.mark.parametrize("how", ["away", "hung", "full"])
def test_without_redis_requests_are_served_uncounted(world: World, how: str) -> None:
    begin, end = {
        "away": (world.redis.stop, world.redis.start),
        "hung": (world.redis.freeze, world.redis.thaw),
        "full": (world.redis.fill, world.redis.empty),
    }[how]
    begin()
    try:
        answers = during(world, f"Redis {how}")
    finally:
        end()
    after(world, f"Redis {how}", since=time.monotonic())
    is_served(answers, "api", "submission", "models", "sign-in", "page", "webhook")
    is_red(answers, "redis")
    settled(world)


@pytest.mark.parametrize("how", ["away", "hung"])
def test_without_the_database_callers_are_told_when_to_come_back(world: World, how: str) -> None:
    begin, end = {
        "away": (world.postgres.stop, world.postgres.start),
        "hung": (world.postgres.freeze, world.postgres.thaw),
    }[how]
    begin()
    try:
        answers = during(world, f"PostgreSQL {how}")
    finally:
        end()
    after(world, f"PostgreSQL {how}", since=time.monotonic())
    is_served(answers, "page", "webhook")
    is_red(answers, "database")
    for name in ("api", "submission", "models", "sign-in"):
        assert answers[name].status_code == 503, name
        assert int(answers[name].headers["Retry-After"]) > 0
    assert answers["api"].json()["error"]["type"] == "unavailable"
    assert answers["models"].json()["error"]["message"]
    settled(world)


@pytest.mark.parametrize("name", ["worker", "clock"])
def test_frozen_processes_are_seen(world: World, name: str) -> None:
    frozen = processes(world.site, name)
    assert frozen
    for one in frozen:
        one.suspend()
    begun = time.monotonic()
    try:
        wait_for(lambda: world.ask("ready").status_code == 503, seconds=60, what="it was not seen")
        print(f"\n{name} frozen: ready was red after {time.monotonic() - begun:.1f} s")
        part = {"worker": "workers", "clock": "clock"}[name]
        assert serving(world).status_code == 200, "every host would leave the load balancer"
        failed = {name for name, outcome in world.ask("ready").json()["checks"].items() if outcome != "ok"}
        assert failed == {part}
    finally:
        for one in frozen:
            one.resume()
    begun = time.monotonic()
    wait_for(lambda: world.ask("ready").status_code == 200, seconds=60, what="it was not seen")
    print(f"{name} goes on: ready was green after {time.monotonic() - begun:.1f} s")
