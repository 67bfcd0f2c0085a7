from __future__ import annotations

import resource

import numpy as np
import pytest

from tests.fixtures import hostile, recordings
from transcription.speech import errors, probing

HOUR_MS = 3_600_000
MADE = recordings.everything()


def probe(path, max_duration_ms=10 * HOUR_MS):
    return probing.probe(path, max_duration_ms=max_duration_ms)


@pytest.mark.parametrize("recording", MADE, ids=lambda one: one.path.name)
def test_length_is_measured_in_every_format(recording):
    found = probe(recording.path)
    assert recording.duration_ms <= found.duration_ms <= recording.duration_ms + 120  # encoders add padding


def test_video_gives_its_sound():
    found = probe(recordings.named("sentence-slt.mp4").path)
    assert (found.codec, found.sample_rate, found.channels) == ("aac", 16_000, 1)


def test_browser_webm_without_length_is_measured(tmp_path):
    whole = recordings.named("sentence-slt.webm").path.read_bytes()
    at = whole.index(b"\x44\x89\x88")  # the Duration element, overwritten with Void: browsers write none
    path = tmp_path / "recorded.webm"
    path.write_bytes(whole[:at] + b"\xec\x89" + bytes(9) + whole[at + 11 :])
    assert 3_400 <= probe(path).duration_ms <= 3_700


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (hostile.empty, errors.EmptyAudio),
        (hostile.text, errors.NotAudio),
        (hostile.random_bytes, errors.NotAudio),
        (hostile.playlist, errors.NotAudio),
        (hostile.hidden_playlist, errors.NotAudio),
        (hostile.archive, errors.NotAudio),
        (hostile.image, errors.NotAudio),
        (hostile.no_moov, errors.NotAudio),
        (hostile.truncated, errors.TruncatedAudio),
        (hostile.wav, errors.NoDuration),
        (hostile.flac_bomb, errors.AudioTooLong),
    ],
    ids=lambda one: one.__name__,
)
def test_hostile_file_is_refused_in_the_child(make, error, tmp_path):
    with pytest.raises(error) as caught:
        probing.probe_in_child(make(tmp_path), max_duration_ms=10 * HOUR_MS)
    assert type(caught.value) is error
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("file", ["sentence-slt.wav", "sentence-slt.flac", "sentence-slt.mp3", "sentence-rms.mp3"])
def test_truncated_file_is_refused(file, tmp_path):
    with pytest.raises(errors.TruncatedAudio) as caught:
        probe(hostile.truncated(tmp_path, file=file, part=0.6))
    assert caught.value.data["found_ms"] < caught.value.data["declared_ms"]


@pytest.mark.parametrize("declared_bytes", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_streamed_wav_of_unknown_size_is_accepted(declared_bytes, tmp_path):
    path = hostile.wav(tmp_path, data=bytes(64_000), declared_bytes=declared_bytes)
    assert probe(path).duration_ms == 2_000


def test_wav_that_promises_more_than_it_holds_is_refused(tmp_path):
    with pytest.raises(errors.TruncatedAudio):
        probe(hostile.wav(tmp_path, data=bytes(64_000), declared_bytes=640_000))


def test_impossible_sample_rate_is_refused(tmp_path):
    with pytest.raises(errors.NotAudio):
        probe(hostile.wav(tmp_path, data=bytes(64_000), rate=1))


def test_video_without_sound_is_named(tmp_path):
    import av

    path = tmp_path / "silent-film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(errors.NoAudioTrack):
        probe(path)


def test_extension_does_not_choose_the_reader(tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes(recordings.named("sentence-slt.flac").path.read_bytes())
    assert probe(path).format == "flac"


def test_bomb_is_probed_cheaply(tmp_path):
    bomb = hostile.flac_bomb(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(errors.AudioTooLong):
        probing.probe(bomb, max_duration_ms=10 * HOUR_MS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2.0
