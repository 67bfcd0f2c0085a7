"""Bare bytes as uploaded files: as they are, or with the header of a WAV in front."""

import gc
import io
import wave
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http.request import UnreadablePostError
from django.test import AsyncRequestFactory

from accounts.errors import BadMedia
from accounts.gate import idempotency
from tests.conftest import AUDIO
from transcription import recordings
from transcription.models import Media
from transcription.recordings import raw_uploads

pytestmark = pytest.mark.usefixtures("own_storage")

WAV = (AUDIO / "sentence-slt.wav").read_bytes()


def samples():
    with wave.open(str(AUDIO / "sentence-slt.wav")) as file:
        return file.getframerate(), file.readframes(file.getnframes())


class Trickle:
    """A body that gives seven bytes at most, as a slow sender may."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def read(self, size):
        return self.content.read(min(size, 7))


def test_bytes_are_received_as_they_are(organization, tmp_path):
    with raw_uploads.received(io.BytesIO(WAV), name="call.wav") as upload:
        assert upload.size == len(WAV)
        recording = recordings.accept(organization, upload=upload)
    assert recording.name == "call.wav"
    with recordings.local_path(recording) as path:
        assert path.read_bytes() == WAV
    assert [entry.name for entry in tmp_path.iterdir()] == ["media"]


@pytest.mark.parametrize("name", ["call." + "x" * 250, "a." + "\N{HOT BEVERAGE}" * 100])
def test_extension_may_be_longer_than_a_name_on_the_disk(name):
    with raw_uploads.received(io.BytesIO(WAV), name=name) as upload:
        assert upload.name == name


def test_samples_get_a_header(organization):
    rate, content = samples()
    with raw_uploads.received_pcm(io.BytesIO(content), name="call", sample_rate=rate) as upload:
        recording = recordings.accept(organization, upload=upload)
    assert (recording.container, recording.codec) == ("wav", "pcm_s16le")
    assert recording.duration_ms == pytest.approx(len(content) / 2 * 1000 / rate, abs=1)
    with recordings.local_path(recording) as path, wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (rate, 1)
        assert file.readframes(file.getnframes()) == content


def test_two_channels(organization):
    rate, content = samples()
    with raw_uploads.received_pcm(io.BytesIO(content), name="call", sample_rate=rate, channels=2) as upload:
        recording = recordings.accept(organization, upload=upload)
    assert recording.channels == 2
    assert recording.duration_ms == pytest.approx(len(content) / 4 * 1000 / rate, abs=1)


@pytest.mark.parametrize("name", ["sentence-slt.mp3", "sentence-slt.opus", "sentence-slt.wav"])
def test_container_wins_over_the_sample_rate(organization, name):
    content = (AUDIO / name).read_bytes()
    with raw_uploads.received_audio(Trickle(content), name="x", sample_rate=44_100) as upload:
        assert upload.read() == content


def test_body_without_a_container_is_pcm(organization):
    rate, content = samples()
    with raw_uploads.received_audio(Trickle(content), name="x", sample_rate=rate) as upload:
        assert upload.read() == raw_uploads.wav_header(data_bytes=len(content), sample_rate=rate) + content


def test_half_a_sample_at_the_end_is_left_out(organization):
    with raw_uploads.received_pcm(io.BytesIO(b"\1\2\3"), name="x", sample_rate=8000) as upload:
        assert upload.read() == raw_uploads.wav_header(data_bytes=2, sample_rate=8000) + b"\1\2"


@pytest.mark.parametrize("content", [b"", b"\1"])
def test_no_samples_are_an_empty_file(organization, content):
    for receive in (raw_uploads.received_pcm, raw_uploads.received_audio):
        with receive(io.BytesIO(content), name="x", sample_rate=8000) as upload, pytest.raises(BadMedia) as caught:
            recordings.accept(organization, upload=upload)
        assert caught.value.type == "empty_audio"
    assert not Media.objects.exists()


def test_what_is_no_recording_is_refused_and_not_heard_as_noise(organization, tmp_path):
    with (
        raw_uploads.received_audio(io.BytesIO(b'{"url": "x"}' * 99), name="x", sample_rate=8000) as upload,
        pytest.raises(BadMedia) as caught,
    ):
        recordings.accept(organization, upload=upload)
    assert caught.value.type == "not_audio"
    assert list(tmp_path.rglob("*upload*")) == []


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(len(WAV))}])
def test_body_of_a_request_is_a_source_with_and_without_its_length(organization, headers):
    request = AsyncRequestFactory().generic("POST", "/v1/stt", WAV, content_type="audio/wav", headers=headers)
    if not headers:
        del request.META["CONTENT_LENGTH"]
    with raw_uploads.received(request, name="x") as upload:
        assert upload.read() == WAV


def test_form_file_is_a_source(organization):
    rate, content = samples()
    with raw_uploads.received_pcm(SimpleUploadedFile("a", content), name="a", sample_rate=rate) as upload:
        assert recordings.accept(organization, upload=upload).codec == "pcm_s16le"


def test_file_has_the_fingerprint_of_its_bytes(organization):
    def fingerprint(content, rate):
        with raw_uploads.received_pcm(io.BytesIO(content), name="x", sample_rate=rate) as upload:
            return idempotency.fingerprint("POST /v1/stt", data={"": upload})

    assert fingerprint(b"abcd", 8000) == fingerprint(b"abcd", 8000)
    assert len({fingerprint(b"abcd", 8000), fingerprint(b"abcd", 16_000), fingerprint(b"abce", 8000)}) == 3


def test_body_that_breaks_off_leaves_no_file(tmp_path):
    class Broken:
        def read(self, size):
            raise UnreadablePostError

    for receive in (raw_uploads.received_pcm, raw_uploads.received_audio):
        with pytest.raises(UnreadablePostError):
            receive(Broken(), name="x", sample_rate=8000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_file_vanishes_when_nobody_refers_to_it():
    """Also if storage has moved it: Python's temporary file would complain, and a complaint fails this test."""
    for is_moved in (False, True):
        upload = raw_uploads.received(io.BytesIO(WAV), name="call.wav")
        path = Path(upload.temporary_file_path())
        assert path.read_bytes() == WAV
        if is_moved:
            path.unlink()
        upload = None
        gc.collect()
        assert not path.exists()
