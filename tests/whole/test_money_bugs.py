"""Bugs by which other gateways lost their operators' or customers' money, over every route here that costs money.

Each test names the public reports of its bug. The product is whole: workers, an engine with a tiny Whisper, a web
process, and an LLM provider that does what it is told.
"""

import base64
import json
import time
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from billing import tariff
from tests import product
from tests.apex import scripted
from tests.fixtures import tiny_whisper
from tests.product import Product
from tests.transcription import remote
from tests.transcription.remote import Remote
from tests.whole.customer import Customer, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(900)]

HELLO = tiny_whisper.SAMPLES / "en-hello.wav"
CONTENT = HELLO.read_bytes()
NO_RECORDING = b"this is no recording at all " * 200
NO_LIMIT = "1000000/minute"


@dataclass(frozen=True)
class Route:
    """A call that costs the transcription of one recording.

    send: from (address, headers, bytes of the recording, a number for this call) to the answer.
    model: the one whose price it has.
    """

    send: Callable[[str, dict[str, str], bytes, int], requests.Response]
    model: str


def post(path: str, *, field: str = "file", **fields: str) -> Callable[..., requests.Response]:
    """Return a function that sends a form."""

    def send(address: str, headers: dict[str, str], content: bytes, number: int) -> requests.Response:
        sent = {name: value.format(number=number) for name, value in fields.items()}
        files = {field: (f"{number}.wav", content)}
        return requests.post(f"{address}{path}", headers=headers, files=files, data=sent, timeout=120)

    return send


def post_bytes(path: str) -> Callable[..., requests.Response]:
    """Return a function that sends the recording as the body."""

    def send(address: str, headers: dict[str, str], content: bytes, number: int) -> requests.Response:
        kind = {"Content-Type": "application/octet-stream"}
        return requests.post(f"{address}{path}", headers=headers | kind, data=content, timeout=120)

    return send


def openai_json(address: str, headers: dict[str, str], content: bytes, number: int) -> requests.Response:
    sound = {"data": base64.b64encode(content).decode(), "format": "wav"}
    body = {"model": "whisper-1", "input_audio": sound}
    return requests.post(f"{address}/v1/audio/transcriptions", headers=headers, json=body, timeout=120)


def stored(address: str, headers: dict[str, str], content: bytes) -> str:
    answer = requests.post(f"{address}/v1/upload", headers=headers, files={"file": content}, timeout=60)
    return str(answer.json().get("file_id", "00000000-0000-0000-0000-000000000000"))


def native_file_id(address: str, headers: dict[str, str], content: bytes, number: int) -> requests.Response:
    body = {"file_id": stored(address, headers, content)}
    return requests.post(f"{address}/v1/transcribe", headers=headers, json=body, timeout=60)


def native_batch(address: str, headers: dict[str, str], content: bytes, number: int) -> requests.Response:
    body = {"files": [{"file_id": stored(address, headers, content), "reference": str(number)}]}
    return requests.post(f"{address}/v1/transcribe", headers=headers, json=body, timeout=60)


ROUTES = {
    "native form": Route(post("/v1/transcribe"), "standard"),
    "native file_id": Route(native_file_id, "standard"),
    "native batch": Route(native_batch, "standard"),
    "openai": Route(post("/v1/audio/transcriptions", model="whisper-1"), "whisper-1"),
    "openai stream": Route(post("/v1/audio/transcriptions", model="whisper-1", stream="true"), "whisper-1"),
    "openai translations": Route(post("/v1/audio/translations", model="whisper-1"), "whisper-1"),
    "openai JSON": Route(openai_json, "whisper-1"),
    "voxnexus": Route(post_bytes("/v1/stt?model_id=vn-stt-basic&sample_rate=16000"), "vn-stt-basic"),
    "deepgram": Route(post_bytes("/v1/listen?model=nova-3"), "standard"),
    "asr": Route(post("/asr?output=json", field="audio_file"), "standard"),
    "detect-language": Route(post("/detect-language", field="audio_file"), "standard"),
    "transcribeapi": Route(
        post("/transcribeapi/v1/transcribe", reference_id="call {number}"), "whisper-large-v3-turbo"
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Remote]:
    with remote.running(CONTENT) as running:
        yield running


@pytest.fixture(scope="module")
def site(server: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    model = str(tiny_whisper.build(folder))
    limits = ("REQUESTS", "UPLOADS", "COMPLETIONS", "TRANSCRIBEAPI_FREE", "TRANSCRIBEAPI_PAID")
    with scripted.running() as upstream:
        switches = {
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": model,
            "VOXSITE_WHISPER_PREMIUM": model,
            "VOXSITE_WORKERS": "4",
            "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
            "APEX_DRAIN_SECONDS": "1",
            "VOXSITE_MAX_API_KEYS": "1000",
            "VOXSITE_ALLOW_PRIVATE_ADDRESSES": server.socket,
            "VOXSITE_SIGNUP_CREDIT_CENTS": "0",
            **{f"VOXSITE_RATE_{name}": NO_LIMIT for name in limits},
        }
        with product.running(folder, **switches) as running:
            yield running


# Prints a key that may make others; that of a new organization may not.
ADMIN = """
from accounts import api_keys
from accounts.models import Organization
organization = Organization.objects.get(memberships__user__email="money@example.com")
print(api_keys.issue(organization, name="admin", by=None, scopes=["admin", "transcribe", "chat", "read", "billing"])[1])
"""


@pytest.fixture(scope="module")
def customer(site: Product) -> Customer:
    customer = Customer(site, "money@example.com", dollars="100")
    customer.headers = {"X-API-Key": site.manage("shell", "--no-imports", "-c", ADMIN).splitlines()[-1]}
    return customer


class Key:
    """A key with a monthly limit of its own."""

    def __init__(self, customer: Customer, *, limit_micros: int | None) -> None:
        body = {"name": "limited", "scopes": ["transcribe", "chat", "read"], "monthly_limit_micros": limit_micros}
        made = requests.post(f"{customer.address}/v1/keys", headers=customer.headers, json=body, timeout=30)
        assert made.status_code == 201, made.text
        self.customer, self.id = customer, made.json()["id"]
        self.headers = {"X-API-Key": made.json()["secret"]}

    def charged_micros(self) -> int:
        """Wait until no work is held for, and return what counts against the limit of the key."""
        wait_for(lambda: self.customer.balance()["held_micros"] == 0, seconds=120, what="something is held for ever")
        shown = requests.get(f"{self.customer.address}/v1/keys/{self.id}", headers=self.customer.headers, timeout=30)
        return int(shown.json()["spent_micros"])

    def chat(self, content: str, **fields: Any) -> requests.Response:
        message = {"role": "user", "content": content}
        body = {"model": "apex-latest", "messages": [message], **fields}
        return requests.post(
            f"{self.customer.address}/v1/apex/chat/completions", headers=self.headers, json=body, timeout=60
        )


def at_once(act: Callable[[int], requests.Response], *, count: int) -> Counter[int]:
    with ThreadPoolExecutor(count) as pool:
        return Counter(answer.status_code for answer in pool.map(act, range(count)))


def price_of(route: Route) -> int:
    with wave.open(str(HELLO)) as sound:
        return tariff.price_of(route.model, sound.getnframes() * 1000 // sound.getframerate())


@pytest.mark.parametrize("name", ROUTES)
def test_audio_reserves_its_price_and_the_limit_of_a_key_binds(customer: Customer, name: str) -> None:
    """Calls at the same time all passed a budget that paid for one of them, since sound reserved nothing, and routes
    beside the chat knew no budget: BerriAI/litellm pull request 37056, issues 10750, 12977, 36646 and 38176."""
    route = ROUTES[name]
    price_micros = price_of(route)
    key = Key(customer, limit_micros=price_micros * 3 // 2)

    statuses = at_once(lambda number: route.send(customer.address, key.headers, CONTENT, number), count=4)

    assert statuses[402] == 3, statuses
    assert statuses[200] + statuses[201] == 1
    assert key.charged_micros() == price_micros
    assert route.send(customer.address, key.headers, CONTENT, 9).status_code == 402
    assert key.charged_micros() == price_micros


@pytest.mark.parametrize("name", ROUTES)
def test_sound_costs_its_price_and_a_failure_leaves_nothing_held(customer: Customer, name: str) -> None:
    """Transcriptions were priced zero: BerriAI/litellm pull request 36914, issues 14447 and 16570. What was taken
    before the work was never given back after a failure: QuantumNous/new-api issues 4429 and 2656, BerriAI/litellm
    issue 27639 and pull request 36592."""
    route = ROUTES[name]
    key = Key(customer, limit_micros=price_of(route) * 3 // 2)
    for number in range(3):
        assert 400 <= route.send(customer.address, key.headers, NO_RECORDING, number).status_code < 500
    assert key.charged_micros() == 0
    # Three leaked holds would leave no room for it.
    assert route.send(customer.address, key.headers, CONTENT, 4).status_code in (200, 201)
    assert key.charged_micros() == price_of(route) > 0


def test_limit_of_the_organization_binds_on_every_route(customer: Customer) -> None:
    """BerriAI/litellm issues 10750 and 38176: a budget of all keys that some routes did not know."""
    key = Key(customer, limit_micros=None)
    limits = f"{customer.address}/v1/limits"
    put = {"monthly_limit_micros": 1}
    assert requests.put(limits, headers=customer.headers, json=put, timeout=30).status_code == 200
    try:
        sent = {
            name: route.send(customer.address, key.headers, CONTENT, 1).status_code for name, route in ROUTES.items()
        }
        chats = [key.chat("normal 5", stream=stream).status_code for stream in (False, True)]
    finally:
        put = {"monthly_limit_micros": None}
        assert requests.put(limits, headers=customer.headers, json=put, timeout=30).status_code == 200
    assert sent == dict.fromkeys(ROUTES, 402)
    assert chats == [402, 402]
    assert key.charged_micros() == 0


def test_signed_upload_is_held_to_the_limit_of_its_key(customer: Customer) -> None:
    """BerriAI/litellm issue 36646: a route on which the provider's work is ordered first and priced later."""
    key = Key(customer, limit_micros=1)
    base = f"{customer.address}/transcribeapi/v1"
    ordered = requests.post(f"{base}/jobs", headers=key.headers, json={"type": "big_file"}, timeout=30)
    if ordered.status_code != 402:
        job = ordered.json()
        requests.put(job["upload"]["url"], data=CONTENT, timeout=30)
        requests.post(f"{base}/transcribe/{job['job_id']}/upload-completed", headers=key.headers, timeout=30)

        def status() -> str:
            shown = requests.get(f"{base}/transcribe/{job['job_id']}", headers=key.headers, timeout=30).json()
            return str(shown["job_status"])

        wait_for(lambda: status() in ("completed", "failed", "insufficient_funds"), seconds=120, what="it never ends")
        assert status() == "insufficient_funds"
    assert key.charged_micros() == 0


@pytest.mark.parametrize("is_batch", [False, True])
def test_fetched_recording_is_held_to_the_limit_of_its_key(customer: Customer, server: Remote, is_batch: bool) -> None:
    """BerriAI/litellm issue 36646 again: the length of a recording at a URL is known only once it was fetched."""
    key = Key(customer, limit_micros=1)
    url = {"url": server.url("/whole")}
    body = {"files": [url, {**url, "reference": "b"}]} if is_batch else url
    ordered = requests.post(f"{customer.address}/v1/transcribe", headers=key.headers, json=body, timeout=30)
    if ordered.status_code != 402:
        job_id = str(ordered.json()["job_id"])
        wait_for(lambda: customer.job(job_id)["status"] == "failed", seconds=120, what="it never ends")
    assert key.charged_micros() == 0


@pytest.mark.parametrize("stream", [False, True])
def test_chats_at_the_same_time_keep_the_limit_of_their_key(customer: Customer, stream: bool) -> None:
    """BerriAI/litellm issue 33923: calls that were admitted without their reservation."""
    # About 18 micro-dollars are held for each, and 8 charged.
    key = Key(customer, limit_micros=25)
    statuses = at_once(lambda _: key.chat("slow 5 0.4", stream=stream, max_tokens=16), count=4)
    assert statuses == {200: 1, 402: 3}
    assert key.charged_micros() == 8


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", ["no-usage 9", "zero-usage 9", "nonsense-usage 9"])
def test_no_chat_is_priced_zero(customer: Customer, content: str, stream: bool) -> None:
    """Streams whose usage was missing or zero cost nothing: QuantumNous/new-api issue 5734, BerriAI/litellm issue
    6633."""
    key = Key(customer, limit_micros=None)
    assert key.chat(content, stream=stream).status_code == 200
    # Nine words are at least nine tokens.
    assert key.charged_micros() >= 5


def test_usage_beside_a_choice_is_not_dropped(customer: Customer) -> None:
    """A library dropped the usage of a last chunk that also had a choice, and counted by itself: BerriAI/litellm issue
    36168."""
    key = Key(customer, limit_micros=None)
    answer = key.chat("recording litellm.sse", stream=True, stream_options={"include_usage": True})
    shown = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")]
    assert shown[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 30
    # 40 prompt tokens and 3 of completion: 12 and 1.35 micro-dollars.
    assert key.charged_micros() == 13


def test_client_that_leaves_a_stream_pays_for_it(customer: Customer) -> None:
    """BerriAI/litellm issue 14457, pollinations/pollinations issue 5594."""
    key = Key(customer, limit_micros=None)
    message = {"role": "user", "content": "slow 200 0.02"}
    body = {"model": "apex-latest", "messages": [message], "stream": True}
    address = f"{customer.address}/v1/apex/chat/completions"
    with requests.post(address, headers=key.headers, json=body, stream=True, timeout=30) as response:
        next(response.iter_lines())
    time.sleep(0.1)
    assert key.charged_micros() > 8


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", ["status 500", "status 401", "not-json"])
def test_failed_chat_leaves_nothing_held(customer: Customer, content: str, stream: bool) -> None:
    """QuantumNous/new-api issues 4429 and 2656: what was taken before the work was not given back."""
    key = Key(customer, limit_micros=25)
    for _ in range(2):
        assert key.chat(content, stream=stream, max_tokens=16).status_code == 502
        assert key.charged_micros() == 0
    # Its breaker opens after five failures.
    wait_for(lambda: key.chat("normal 5", max_tokens=16).status_code == 200, seconds=60, what="the limit is used up")
    assert key.charged_micros() == 8


def test_what_exceeds_the_hold_is_charged_as_far_as_the_balance_goes(site: Product, customer: Customer) -> None:
    """A charge above its reservation was refused, and then nothing at all was charged: DEEIX-AI/DEEIX-Chat issue 471,
    bitcoin-numeraire/swissknife issue 290."""
    key = Key(customer, limit_micros=None)
    assert key.chat("mad-usage 5", max_tokens=16).status_code == 200
    charged_micros = key.charged_micros()
    # The hold is about 18 micro-dollars.
    assert charged_micros > 100
    poor = Customer(site, "poor@example.com", dollars="0.00003")
    spent = requests.post(
        f"{poor.address}/v1/apex/chat/completions",
        headers=poor.headers,
        json={"model": "apex-latest", "messages": [{"role": "user", "content": "mad-usage 5"}], "max_tokens": 16},
        timeout=60,
    )
    assert spent.status_code == 200
    wait_for(lambda: poor.balance()["held_micros"] == 0, seconds=30, what="something is held for ever")
    assert poor.balance()["balance_micros"] == 0
