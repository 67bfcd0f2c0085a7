from __future__ import annotations

import io
import itertools

import numpy as np
import pytest

from tests.fixtures import encoding
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import heard, loud_from_to
from transcription.speech import boundaries, signatures, transport_streams
from transcription.speech.samples import samples_to_ms

CODECS = {"aac": 48_000, "mp2": 48_000, "ac3": 48_000, "eac3": 48_000, "libmp3lame": 48_000, "libopus": 48_000}


def stream(path, codec, *, seconds=5.0, offset="0", video_seconds=0.0, options=None):
    return encoding.write(
        path, tone(seconds, rate=48_000), container="mpegts", codec=codec, rate=48_000, video_seconds=video_seconds,
        container_options={"output_ts_offset": offset, "mpegts_start_pid": "256", **(options or {})},
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    "codecs",
    [("mp2", "aac"), ("aac", "mp2"), ("mp2", "ac3"), ("ac3", "aac"), ("aac", "libopus"), ("eac3", "libmp3lame"),
     ("mp2", "ac3", "mp2")],
)  # fmt: skip
@pytest.mark.parametrize("video_seconds", [0.0, 5.0])
@pytest.mark.parametrize("goes_on", [True, False])
def test_track_may_change_its_codec(codecs, video_seconds, goes_on, tmp_path):
    """A station goes on in another codec, or recordings were joined: the packets of the second were lost."""
    made = [
        stream(tmp_path / str(at), codec, offset=str(5 * at if goes_on else 0), video_seconds=video_seconds)
        for at, codec in enumerate(codecs)
    ]
    samples, facts = heard(encoding.joined(tmp_path / "both.ts", *made), slack_ms=150)
    seconds = 5 * len(codecs)
    assert samples_to_ms(len(samples)) == pytest.approx(seconds * 1000, abs=200 * len(codecs))
    assert loud_from_to(samples) == pytest.approx((0, seconds), abs=0.2 * len(codecs))
    per_twentieth = np.abs(samples[: len(samples) // 800 * 800].reshape(-1, 800)).max(axis=1)
    assert (per_twentieth > 0.2).mean() > 0.9
    assert facts == []


@pytest.mark.long
@pytest.mark.parametrize("codecs", [("aac", "aac"), ("mp2", "mp2")])
def test_stream_that_keeps_its_codec_is_one(codecs, tmp_path):
    made = [stream(tmp_path / str(at), codec) for at, codec in enumerate(codecs)]
    content = encoding.joined(tmp_path / "both.ts", *made).read_bytes()
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == []


def test_recording_of_a_camera_in_m2ts_is_divided_before_its_extra_bytes(tmp_path):
    """M2TS has four bytes before each packet. The part must begin with them."""
    made = [stream(tmp_path / codec, codec, options={"mpegts_m2ts_mode": "1"}) for codec in ("ac3", "eac3")]
    content = encoding.joined(tmp_path / "both.m2ts", *made).read_bytes()
    assert transport_streams.layout_of(content) == (192, 4)
    [place] = boundaries.starts(io.BytesIO(content), len(content))
    assert place % 192 == 0
    assert 0 <= place - made[0].stat().st_size <= 10 * 192
    assert loud_from_to(heard(tmp_path / "both.m2ts")[0]) == pytest.approx((0, 10), abs=0.3)


def test_table_is_found_across_the_pieces_in_which_a_file_is_read(tmp_path):
    made = [stream(tmp_path / codec, codec) for codec in ("mp2", "ac3")]
    content = encoding.joined(tmp_path / "both.ts", *made).read_bytes()
    [whole] = boundaries.starts(io.BytesIO(content), len(content))
    layout = transport_streams.layout_of(content[: signatures.HEAD_BYTES])
    for read_bytes in (189, 1_000, 10_001):
        found = transport_streams.next_change(
            io.BytesIO(content), 0, layout=layout, budget=itertools.count(), read_bytes=read_bytes
        )
        assert found == whole
