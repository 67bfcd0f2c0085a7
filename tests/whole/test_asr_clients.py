"""Programs that speak whisper-asr-webservice's API, by requests in their exact form, against the running product.

Each test is named after the program. What they send was read in their source (transcription/dialects/asr/README.md).
"""

import json
import secrets
import wave

import pytest
import requests

from tests.fixtures import tiny_whisper
from tests.product import Product
from tests.whole.customer import Customer, rows

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

SAMPLES = tiny_whisper.SAMPLES
SECOND_MICROS = 300_000 / 3600


@pytest.fixture(scope="module")
def customer(whisper_site: Product) -> Customer:
    return Customer(whisper_site, "subtitles@example.com")


@pytest.fixture(scope="module")
def key(customer: Customer) -> str:
    return customer.headers["X-API-Key"]


def pcm_of(name: str) -> bytes:
    """Return a sample as Bazarr sends a film: 16 kHz, mono, 16 bits, without a header."""
    with wave.open(str(SAMPLES / name)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        return file.readframes(file.getnframes())


def newest_charge(site: Product) -> int:
    return int(
        rows(site, "SELECT -amount_micros FROM billing_entry WHERE kind = 'usage' ORDER BY id DESC LIMIT 1")[0][0]
    )


def test_bazarr(customer: Customer, key: str) -> None:
    """It has one address and no field for a key, so the key stands in the address, in either half."""
    pcm = pcm_of("es-hola.wav")
    scheme, _, host = customer.address.partition("://")
    for credentials in (f"bazarr:{key}", f"{key}:"):
        endpoint = f"{scheme}://{credentials}@{host}/".rstrip("/")
        session = requests.Session()
        session.headers["User-Agent"] = "Subliminal/2.2.1"
        response = session.post(
            f"{endpoint}/detect-language",
            params={"encode": "false", "video_file": {"/films/Una película.mkv"}},
            files={"audio_file": pcm},
            timeout=(20, 120),
        )
        assert response.status_code == 200, response.text
        found = response.json()
        assert (found["language_code"], found["detected_language"]) == ("es", "spanish")
        response = session.post(
            f"{endpoint}/asr",
            params={
                "task": "transcribe",
                "language": "es",
                "output": "srt",
                "encode": "false",
                "video_file": {"/films/Una película.mkv"},
            },
            files={"audio_file": pcm},
            timeout=(20, 120),
        )
        assert response.status_code == 200, response.text
        assert response.content.startswith(b"1\n00:00:00,")
        assert "hola buenos días" in response.content.decode("utf-8")
        assert response.headers["Asr-Engine"].startswith("faster-whisper/")
        seconds = -(-len(pcm) // 32_000)
        assert newest_charge(customer.site) == round(seconds * SECOND_MICROS)
        session.close()


def test_bazarr_without_a_key_gets_json_that_says_so(customer: Customer) -> None:
    response = requests.post(
        f"{customer.address}/detect-language",
        params={"encode": "false"},
        files={"audio_file": pcm_of("es-hola.wav")},
        timeout=60,
    )
    assert response.status_code == 401
    assert "language_code" not in response.json()
    assert "password of Basic authentication" in response.json()["detail"]
    assert 'Basic realm="Voxsite"' in response.headers["WWW-Authenticate"]


def test_speakr(customer: Customer, key: str) -> None:
    """It looks at /health and /v1/models first, and reads speaker, text, start and end of the segments."""
    assert requests.get(f"{customer.address}/health", timeout=30).status_code < 500
    response = requests.post(
        f"{customer.address}/asr",
        params={
            "encode": "true",
            "task": "transcribe",
            "output": "json",
            "language": "en",
            "diarize": "true",
            "enable_diarization": "true",
            "min_speakers": "1",
            "max_speakers": "2",
            "initial_prompt": "A meeting.",
            "hotwords": "project,report",
            "return_speaker_embeddings": "true",
        },
        files={"audio_file": ("meeting.flac", (SAMPLES / "en-meeting.flac").read_bytes(), "audio/flac")},
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
    )
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/json")
    found = response.json()
    assert found["language"] == "en"
    assert "the meeting is at ten on monday" in found["text"]
    for segment in found["segments"]:
        assert segment["speaker"].startswith("SPEAKER_0")
        assert 0 <= segment["start"] < segment["end"]
        assert segment["text"]


def test_whisper_to_input(customer: Customer, key: str) -> None:
    """The keyboard sends two parts with the same recording under odd names, and takes the body as the text."""
    sound, boundary = (SAMPLES / "en-hello.wav").read_bytes(), secrets.token_hex(16)
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="@audio.m4a"\r\n'
        f"Content-Type: audio/mp4\r\nContent-Length: {len(sound)}\r\n\r\n".encode()
        + sound
        + b"\r\n"
        for name in ("audio_file", "file")
    )
    response = requests.post(
        f"{customer.address}/asr?encode=true&task=transcribe&language=en&word_timestamps=false&output=txt",
        data=parts + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}", "X-API-Key": key},
        timeout=120,
    )
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.text == "hello thank you please call me tomorrow morning\n"


def test_curl_with_a_user(customer: Customer, key: str) -> None:
    """What `curl -u KEY: -F audio_file=@...` sends, and the format that nobody else asks for."""
    response = requests.post(
        f"{customer.address}/asr?output=tsv",
        files={"audio_file": ("en-hello.wav", (SAMPLES / "en-hello.wav").read_bytes(), "application/octet-stream")},
        auth=(key, ""),
        timeout=120,
    )
    header, line = response.text.splitlines()
    assert header == "start\tend\ttext"
    start, end, text = line.split("\t")
    assert int(start) < int(end)
    assert text == "hello thank you please call me tomorrow morning"


def test_words_and_a_language_that_nobody_named(customer: Customer, key: str) -> None:
    response = requests.post(
        f"{customer.address}/asr?output=json&word_timestamps=true",
        files={"audio_file": (SAMPLES / "es-419.flac").read_bytes()},
        headers={"X-API-Key": key},
        timeout=120,
    )
    found = response.json()
    assert found["language"] == "es"
    words = [word["word"] for segment in found["segments"] for word in segment["words"]]
    assert " ".join(words) == found["text"]
    assert json.dumps(found, allow_nan=False)


def test_form_of_unknown_size(customer: Customer, key: str) -> None:
    """As programs in Node send a stream: in chunks, without Content-Length."""
    head = b'--x\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n'
    pieces = [head, (SAMPLES / "en-hello.wav").read_bytes(), b"\r\n--x--\r\n"]
    response = requests.post(
        f"{customer.address}/asr",
        data=iter(pieces),
        headers={"Content-Type": "multipart/form-data; boundary=x", "X-API-Key": key},
        timeout=120,
    )
    assert (response.status_code, response.text) == (200, "hello thank you please call me tomorrow morning\n")
