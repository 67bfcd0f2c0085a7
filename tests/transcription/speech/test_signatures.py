"""Headerless PCM and recordings with a container, told apart by their first bytes."""

import io
import random
import struct
import wave

import av
import pytest

from tests.conftest import AUDIO
from transcription.speech import signatures

RECORDINGS = sorted(path for path in AUDIO.iterdir() if path.suffix != ".json")


def samples_of(name="sentence-slt.wav"):
    with wave.open(str(AUDIO / name)) as file:
        return file.readframes(file.getnframes())


def encoded(container, codec, *, sample_rate=16_000, layout="mono"):
    """Return a second of noise in a format, as FFmpeg writes it."""
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        stream = file.add_stream(codec, rate=sample_rate, layout=layout)
        resampler = av.AudioResampler(stream.format, layout, sample_rate, frame_size=stream.frame_size or 0)
        noise = random.Random(1).randbytes(2 * sample_rate)
        frame = av.AudioFrame(format="s16", layout="mono", samples=sample_rate)
        frame.planes[0].update(noise)
        frame.sample_rate = sample_rate
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return target.getvalue()


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_recording_with_a_container_is_not_headerless(path):
    with path.open("rb") as file:
        assert not signatures.is_headerless(file.read(signatures.HEAD_BYTES))


@pytest.mark.long
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("aiff", "pcm_s16be"),
        ("au", "pcm_s16be"),
        ("caf", "pcm_s16le"),
        ("w64", "pcm_s16le"),
        ("voc", "pcm_u8"),
        ("mp2", "mp2"),
        ("mp3", "libmp3lame"),
        ("adts", "aac"),
        ("ac3", "ac3"),
        ("mpegts", "aac"),
        ("mpegts", "mp2"),
        ("latm", "aac"),
        ("mov", "pcm_s16le"),
        ("asf", "pcm_s16le"),
        ("tta", "tta"),
        ("wv", "wavpack"),
        ("nut", "pcm_s16le"),
        ("flv", "aac"),
        ("wtv", "mp2"),
        ("ircam", "pcm_s16le"),
    ],
)
def test_format_of_ffmpeg_is_not_headerless(container, codec):
    assert not signatures.is_headerless(encoded(container, codec, sample_rate=32_000)[: signatures.HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"  \n",
        b'{"file_id": "x"}',
        b"%PDF-1.7\0",
        b"PK\x03\x04\0\0",
        b"\x89PNG\r\n\0",
        "A text.\n".encode("utf-16"),
    ],
)
def test_what_is_no_recording_is_not_headerless(head):
    assert not signatures.is_headerless(head)


@pytest.mark.parametrize("name", ["sentence-slt.wav", "silence.wav", "noise.wav"])
def test_samples_without_their_header_are_headerless(name):
    assert signatures.is_headerless(samples_of(name)[: signatures.HEAD_BYTES])


@pytest.mark.parametrize(
    "first",
    [
        # The samples -1, -1025, -3841, -170, 30475 and 71 begin as a frame does: MP3 (2), AAC (2), AC-3, TS.
        *(struct.pack("<h", sample) for sample in (-1, -1025, -3841, -170, 30475, 71)),
        b"RIFF....WAVX",
    ],
)
def test_samples_that_begin_as_a_frame_does_are_headerless(first):
    assert signatures.is_headerless(first + samples_of())


@pytest.mark.parametrize("sample", [-1, -1025, -3841, -170, 0, 1])
def test_constant_level_is_headerless(sample):
    assert signatures.is_headerless(struct.pack("<h", sample) * 5000)


@pytest.mark.slow
def test_noise_is_headerless():
    """Of 20,000 beginnings of noise at different levels, none is taken for a container."""
    chance = random.Random(7)
    for _ in range(20_000):
        level = 2 ** chance.randrange(16)
        head = struct.pack("<400h", *(chance.randrange(-level, level) for _ in range(400)))
        assert signatures.is_headerless(head), head[:8]
