"""The unmodified `openai` package transcribes, with nothing changed but its base URL and key."""

import asyncio
import importlib
import io
from pathlib import Path

import pytest
import requests

from tests.conftest import AUDIO, text_of
from tests.product import Product
from tests.whole.cutting_proxy import cutting

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]
FILE = AUDIO / "sentence-slt.wav"
# What the engine of this site hears in it, and says in it.
SAID = text_of(FILE.name).lower()


@pytest.fixture(scope="module")
def openai():
    """The package. To import it takes a second, which is no matter of the processes that run none of these tests."""
    return importlib.import_module("openai")


@pytest.fixture(scope="module")
def key(site: Product) -> str:
    return site.new_key(owner="openai@example.com")


@pytest.fixture
def client(openai, site: Product, key: str):
    with openai.OpenAI(base_url=f"{site.address}/v1", api_key=key, max_retries=0) as client:
        yield client


def test_json(client):
    answer = client.audio.transcriptions.create(model="whisper-1", file=FILE)
    assert answer.text.lower() == SAID
    assert answer.usage.type == "duration"
    assert answer.usage.seconds > 1


@pytest.mark.parametrize("file", [FILE.read_bytes(), io.BytesIO(FILE.read_bytes()), ("a.mp3", FILE.read_bytes())])
def test_files_of_every_kind(client, file):
    answer = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, language="en", prompt="A test.")
    assert answer.text.lower() == SAID


@pytest.mark.parametrize(("response_format", "beginning"), [("text", ""), ("srt", "1\n"), ("vtt", "WEBVTT")])
def test_text_formats(client, response_format, beginning):
    answer = client.audio.transcriptions.create(model="whisper-1", file=FILE, response_format=response_format)
    assert isinstance(answer, str)
    assert answer.startswith(beginning)
    assert SAID.split()[-1] in answer.lower()


def test_verbose_json(client):
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=FILE, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert type(answer.duration) is float
    assert answer.language == "english"
    assert [word.word.lower() for word in answer.words] == SAID.split()
    numbers = answer.segments[0].model_dump(exclude={"text", "tokens"})
    assert all(type(value) in (int, float) for value in numbers.values())


def test_diarized_json(client):
    answer = client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=FILE, response_format="diarized_json", chunking_strategy="auto"
    )
    assert {segment.speaker for segment in answer.segments} == {"A"}
    assert answer.segments[0].type == "transcript.text.segment"


def test_log_probabilities(client):
    answer = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=FILE, include=["logprobs"])
    assert "".join(each.token for each in answer.logprobs).strip().lower() == SAID
    assert all(each.logprob <= 0 for each in answer.logprobs)


def test_stream(client):
    stream = client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=FILE, stream=True)
    events = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == deltas
    assert deltas.lower() == SAID


def test_stream_with_speakers(client):
    stream = client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=FILE, response_format="diarized_json", stream=True
    )
    segments = [event for event in stream if event.type == "transcript.text.segment"]
    assert [segment.speaker for segment in segments] == ["A"]


def test_asynchronous_client(openai, site: Product, key: str):
    async def act():
        async with openai.AsyncOpenAI(base_url=f"{site.address}/v1", api_key=key, max_retries=0) as client:
            answer = await client.audio.transcriptions.create(model="whisper-1", file=FILE)
            stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=FILE, stream=True)
            return answer.text, [event async for event in stream][-1].text

    assert [text.lower() for text in asyncio.run(act())] == [SAID, SAID]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translations_need_a_model_that_can(openai, client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.translations.create(model="whisper-1", file=FILE)
    assert caught.value.param == "model"


def test_models(client):
    assert "whisper-1" in [model.id for model in client.models.list()]


def test_errors_are_the_package_s_own(openai, site: Product, client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="gpt-9", file=FILE)
    assert (caught.value.code, caught.value.param) == ("invalid_field", "model")
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(model="whisper-1", file=b"no audio")
    with (
        openai.OpenAI(base_url=f"{site.address}/v1", api_key="vxp_live_none") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.audio.transcriptions.create(model="whisper-1", file=FILE)


def test_answers_that_are_cut_off_are_charged_once(openai, site: Product):
    """The package sends everything again, twice, without an Idempotency-Key."""
    key = site.new_key(owner="cut@example.com")
    headers = {"X-API-Key": key}
    before = requests.get(f"{site.address}/v1/balance", headers=headers, timeout=30).json()
    with (
        cutting(site.address, answers=2) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=2) as client,
    ):
        raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=Path(FILE))
    assert raw.parse().text.lower() == SAID
    assert raw.headers["idempotency-replayed"] == "true"
    (job,) = requests.get(f"{site.address}/v1/jobs", headers=headers, timeout=30).json()["jobs"]
    balance = requests.get(f"{site.address}/v1/balance", headers=headers, timeout=30).json()
    assert balance["balance_micros"] == before["balance_micros"] - round(float(job["cost_dollars"]) * 1e6)
    assert balance["held_micros"] == 0
