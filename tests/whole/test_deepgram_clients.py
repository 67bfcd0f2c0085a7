"""Deepgram's own package, unmodified, and other programs that speak its API, against the running product."""

import asyncio
import hashlib
import importlib
import io
import json
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests import clients
from tests.fixtures import tiny_whisper
from tests.product import Product
from tests.whole.customer import Customer, rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    # The package imports old names of its own dependency.
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
]

SAMPLES = tiny_whisper.SAMPLES
COMMAND_LINE = "deepctl==0.4.0"
HELLO = (SAMPLES / "en-hello.wav").read_bytes()
WORDS = "hello thank you please call me tomorrow morning"


@pytest.fixture(scope="module")
def customer(whisper_site: Product) -> Customer:
    return Customer(whisper_site, "listener@example.com")


@pytest.fixture(scope="module")
def key(customer: Customer) -> str:
    return customer.headers["X-API-Key"]


def environment(address: str) -> Any:
    package = importlib.import_module("deepgram.environment")
    return package.DeepgramClientEnvironment(base=address, production=address, agent=address, agent_rest=address)


@pytest.fixture
def media(customer: Customer, key: str) -> Iterator[Any]:
    """The package with nothing changed but address and key."""
    deepgram, httpx = importlib.import_module("deepgram"), importlib.import_module("httpx")
    # The package never closes the connections of its own.
    with httpx.Client(timeout=120) as connections:
        client = deepgram.DeepgramClient(
            api_key=key, environment=environment(customer.address), httpx_client=connections
        )
        yield client.listen.v1.media


def charge_count(customer: Customer) -> int:
    return len(rows(customer.site, "SELECT 1 FROM billing_entry WHERE kind = 'usage'"))


def test_deepgram_sdk(media: Any) -> None:
    answer = media.transcribe_file(
        request=HELLO, model="nova-3", smart_format=True, diarize=True, utterances=True, detect_language=True,
        keyterm=["tomorrow", "morning"], tag="greeting",
    )  # fmt: skip
    [channel] = answer.results.channels
    [alternative] = channel.alternatives
    assert alternative.transcript == WORDS
    assert channel.detected_language == "en"
    assert 0 < alternative.confidence <= 1
    assert [word.word for word in alternative.words] == WORDS.split()
    assert {word.speaker for word in alternative.words} == {0}
    assert all(word.start < word.end for word in alternative.words)
    assert alternative.paragraphs.paragraphs[0].num_words == len(WORDS.split())
    assert " ".join(one.transcript for one in answer.results.utterances) == WORDS
    metadata = answer.metadata
    assert metadata.sha256 == hashlib.sha256(HELLO).hexdigest()
    assert (metadata.channels, metadata.tags) == (1, ["greeting"])
    assert metadata.duration == pytest.approx(len(HELLO) / 32_000, abs=0.01)
    assert metadata.model_info[metadata.models[0]]["name"] == "nova-3"
    assert metadata.created.year >= 2026


def test_deepgram_sdk_streams_a_body_of_unknown_size(media: Any) -> None:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(HELLO), 4096):
            yield HELLO[at : at + 4096]

    answer = media.transcribe_file(request=pieces(), model="nova-3")
    assert answer.results.channels[0].alternatives[0].transcript == WORDS


def test_deepgram_sdk_with_channels_apart(media: Any) -> None:
    def samples(name: str) -> Any:
        with wave.open(str(SAMPLES / name)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")

    left, right = samples("en-hello.wav"), samples("es-hola.wav")
    both = np.zeros((max(len(left), len(right)), 2), dtype="<i2")
    both[: len(left), 0], both[: len(right), 1] = left, right
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(both.tobytes())
    answer = media.transcribe_file(request=made.getvalue(), multichannel=True, punctuate=True)
    first, second = (channel.alternatives[0].transcript for channel in answer.results.channels)
    assert first == WORDS
    assert second
    assert answer.metadata.channels == 2


def test_deepgram_sdk_with_headerless_sound(media: Any) -> None:
    answer = media.transcribe_file(
        request=HELLO[44:],
        encoding="linear16",
        request_options={"additional_query_parameters": {"sample_rate": 16000}},
    )
    assert answer.results.channels[0].alternatives[0].transcript == WORDS
    assert answer.metadata.sha256 == hashlib.sha256(HELLO[44:]).hexdigest()


def test_asynchronous_deepgram_sdk(customer: Customer, key: str) -> None:
    deepgram, httpx = importlib.import_module("deepgram"), importlib.import_module("httpx")

    async def act() -> Any:
        async with httpx.AsyncClient(timeout=120) as connections:
            client = deepgram.AsyncDeepgramClient(
                api_key=key, environment=environment(customer.address), httpx_client=connections
            )
            return await asyncio.gather(*(client.listen.v1.media.transcribe_file(request=HELLO) for _ in range(2)))

    for answer in asyncio.run(act()):
        assert answer.results.channels[0].alternatives[0].transcript == WORDS


@pytest.mark.parametrize(
    ("request_", "options", "status", "code"),
    [
        (b"", {}, 400, "Bad Request"),
        (b"no audio at all", {}, 400, "Bad Request"),
        (HELLO, {"language": "klingon"}, 400, "Bad Request"),
        (HELLO, {"redact": "pci"}, 400, "Bad Request"),
        (HELLO, {"model": "no-such-model"}, 400, "Bad Request"),
    ],
)
def test_deepgram_sdk_is_told_what_is_wrong(
    customer: Customer, media: Any, request_: bytes, options: dict[str, Any], status: int, code: str
) -> None:
    """Its retry of a generator has an empty body: that must be an error, and free."""
    errors = importlib.import_module("deepgram.core.api_error")
    before = charge_count(customer)
    with pytest.raises(errors.ApiError) as caught:
        media.transcribe_file(request=request_, request_options={"max_retries": 0}, **options)
    assert caught.value.status_code == status
    body = caught.value.body if isinstance(caught.value.body, dict) else dict(caught.value.body)
    assert body["err_code"] == code
    assert body["err_msg"]
    assert body["request_id"]
    assert charge_count(customer) == before


def test_deepgram_sdk_with_a_private_url_is_refused(media: Any) -> None:
    errors = importlib.import_module("deepgram.core.api_error")
    with pytest.raises(errors.ApiError) as caught:
        media.transcribe_url(url="http://169.254.169.254/a.mp3", request_options={"max_retries": 0})
    assert caught.value.status_code == 400


def test_deepgram_sdk_with_a_wrong_key(customer: Customer) -> None:
    deepgram, errors = importlib.import_module("deepgram"), importlib.import_module("deepgram.core.api_error")
    httpx = importlib.import_module("httpx")
    with httpx.Client() as connections:
        client = deepgram.DeepgramClient(
            api_key="vxp_live_no", environment=environment(customer.address), httpx_client=connections
        )
        with pytest.raises(errors.ApiError) as caught:
            client.listen.v1.media.transcribe_file(request=HELLO)
    assert caught.value.status_code == 401


def listen(customer: Customer, key: str, query: str, body: bytes, content_type: str) -> Any:
    response = requests.post(
        f"{customer.address}/v1/listen?{query}",
        data=body,
        headers={"Authorization": f"Token {key}", "Accept": "application/json", "Content-Type": content_type},
        timeout=120,
    )
    assert response.status_code == 200, response.text
    return response.json()


def test_livekit_agents(customer: Customer, key: str) -> None:
    query = (
        "model=nova-3&punctuate=true&detect_language=false&smart_format=false&keywords=tomorrow%3A1.5&profanity_filter=false"
        "&numerals=false&mip_opt_out=false&language=en-US"
    )
    answer = listen(customer, key, query, HELLO, "audio/wav")
    assert answer["metadata"]["request_id"]
    [alternative] = answer["results"]["channels"][0]["alternatives"]
    assert alternative["transcript"] == WORDS
    assert {"word", "punctuated_word", "start", "end", "confidence"} == set(alternative["words"][0])
    assert isinstance(alternative["confidence"], float)
    assert "warnings" not in answer["metadata"]


def test_ai_sdk(customer: Customer, key: str) -> None:
    """@ai-sdk/deepgram: the media type of the recording, and diarize by default."""
    answer = listen(
        customer, key, "model=nova-3&diarize=true", (SAMPLES / "en-meeting.flac").read_bytes(), "audio/flac"
    )
    [alternative] = answer["results"]["channels"][0]["alternatives"]
    assert "the meeting is at ten on monday" in alternative["transcript"]
    assert isinstance(answer["metadata"]["duration"], float)
    assert {"word", "start", "end", "confidence", "speaker"} == set(alternative["words"][0])


def test_open_webui(customer: Customer, key: str) -> None:
    answer = listen(
        customer,
        key,
        "smart_format=true&model=nova-2&language=es",
        (SAMPLES / "es-hola.wav").read_bytes(),
        "audio/mpeg",
    )
    assert answer["results"]["channels"][0]["alternatives"][0]["transcript"].startswith("hola buenos días")


def test_deepctl(customer: Customer, key: str, tmp_path: Path) -> None:
    """Deepgram's command line, unmodified. Before each command it tries its key, by GET /v1/projects."""
    python = clients.python_with(tmp_path, COMMAND_LINE)
    environment = {
        **{name: os.environ[name] for name in ("LANG", "PATH") if name in os.environ},
        # Its settings and its log are files there.
        "HOME": str(tmp_path),
        "DEEPGRAM_API_KEY": key,
        "DEEPGRAM_BASE_URL": customer.address,
        # It would report its errors to its maker.
        "DEEPCTL_TELEMETRY_DISABLED": "1",
    }

    def told(*words: str | Path) -> str:
        command = [python.parent / "deepctl", "--non-interactive", "--output", "json", *words]
        return clients.ran(command, cwd=tmp_path, env=environment)

    before = charge_count(customer)
    [project] = json.loads(told("projects", "--list"))["projects"]
    assert project["name"] == "listener@example.com"
    [shown] = json.loads(told("projects", "--show", project["project_id"]))["projects"]
    assert shown["project_id"] == project["project_id"]
    [balance] = json.loads(told("billing", "--balances", "--project-id", project["project_id"]))["balances"]
    assert balance["units"] == "usd"
    assert 0 < balance["amount"] < 30
    assert charge_count(customer) == before
    subtitles = told("listen", SAMPLES / "en-hello.wav", "--diarize", "--srt").splitlines()
    assert subtitles[0] == "1"
    assert " --> " in subtitles[1]
    assert subtitles[2:4] == ["[speaker 0]", WORDS]
    assert charge_count(customer) == before + 1
