from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures import hostile, make_recordings, recordings
from transcription.speech import audio, errors

HOUR_MS = 3_600_000
MADE = recordings.everything()


def probe(path, max_duration_ms=10 * HOUR_MS):
    return audio.probe(path, max_duration_ms=max_duration_ms)


def read(path, max_duration_ms=10 * HOUR_MS):
    return np.concatenate(list(audio.windows(path, max_duration_ms=max_duration_ms)))


@pytest.mark.parametrize("recording", MADE, ids=lambda one: one.path.name)
def test_length_is_measured_in_every_format(recording):
    found = probe(recording.path)
    assert recording.duration_ms <= found.duration_ms <= recording.duration_ms + 120  # encoders pad


@pytest.mark.parametrize("recording", MADE, ids=lambda one: one.path.name)
def test_decoded_length_is_the_probed_length(recording):
    decoded_ms = len(read(recording.path)) // 16
    assert abs(decoded_ms - probe(recording.path).duration_ms) <= 100


def test_video_gives_its_sound():
    found = probe(recordings.named("sentence-slt.mp4").path)
    assert (found.codec, found.sample_rate, found.channels) == ("aac", 16_000, 1)


def test_browser_webm_without_length_is_measured(tmp_path):
    whole = recordings.named("sentence-slt.webm").path.read_bytes()
    at = whole.index(b"\x44\x89\x88")  # the Duration element: overwritten with Void, as a browser's recorder has none
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
        audio.probe_in_child(make(tmp_path), max_duration_ms=10 * HOUR_MS)
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


def test_playlist_reaches_no_other_file(tmp_path):
    """The classic attack: a playlist makes the server read its own files or call its own network."""
    target = recordings.named("sentence-slt.wav").path
    with pytest.raises(errors.NotAudio):
        read(hostile.playlist(tmp_path, target=f"file://{target}"))


def test_bomb_is_refused_while_decoding_too(tmp_path):
    windows = audio.windows(hostile.flac_bomb(tmp_path), max_duration_ms=60_000)
    assert len(next(windows)) == 30 * 16_000
    with pytest.raises(errors.AudioTooLong):
        next(windows)


def test_bomb_is_probed_cheaply(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(errors.AudioTooLong):
        audio.probe_in_child(hostile.flac_bomb(tmp_path), max_duration_ms=10 * HOUR_MS)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2.0


def test_child_that_stalls_is_no_audio(tmp_path):
    import os

    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    with pytest.raises(errors.NotAudio):
        audio.probe_in_child(path, max_duration_ms=HOUR_MS, timeout_seconds=0.5)


def test_child_sees_none_of_our_secrets(tmp_path, monkeypatch):
    """A decoder that a crafted file takes over must not find keys in its environment."""
    seen = {}
    real = subprocess.run

    def spy(command, **options):
        seen.update(options["env"])
        return real(command, **options)

    monkeypatch.setenv("STRIPE_SECRET_KEY", "secret")
    monkeypatch.setattr(subprocess, "run", spy)
    audio.probe_in_child(recordings.named("silence.wav").path, max_duration_ms=HOUR_MS)
    assert "STRIPE_SECRET_KEY" not in seen


def test_corrupt_packets_are_skipped(tmp_path):
    content = bytearray(recordings.named("sentence-rms.mp3").path.read_bytes())
    content[15_000:15_800] = bytes(800)
    path = tmp_path / "scratched.mp3"
    path.write_bytes(content)
    decoded_ms = len(read(path)) // 16
    assert abs(decoded_ms - recordings.named("sentence-rms.mp3").duration_ms) < 400


def test_samples_are_finite_and_in_range():
    samples = read(recordings.named("noise.wav").path)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0


def test_other_rates_and_channels_come_out_as_16_khz_mono(tmp_path):
    tone = (np.sin(np.arange(44_100) * 2 * np.pi * 440 / 44_100) * 10_000).astype("<i2")
    path = tmp_path / "tone.wav"
    make_recordings.encode(path, tone, rate=44_100)
    assert abs(len(read(path)) - 16_000) <= 16


def test_windows_have_the_length_asked_for():
    path = recordings.named("dialogue.flac").path
    lengths = [len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS, window_ms=4_000)]
    assert lengths[:-1] == [64_000] * (len(lengths) - 1)
    assert sum(lengths) // 16 == recordings.named("dialogue.flac").duration_ms


def test_long_file_is_decoded_in_flat_memory(tmp_path):
    """An hour as float32 is 230 MB; the whole process must stay below that, and so does an hour of decoding."""
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.zeros(16_000 * 1_800, dtype="<i2"))
    program = (
        "import resource, sys; from transcription.speech import audio\n"
        "first = None\n"
        f"for window in audio.windows({str(path)!r}, max_duration_ms=3_600_000):\n"
        "    first = first or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)\n"
    )
    grown_kib = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)
    assert grown_kib < 30_000


def test_web_process_imports_nothing_heavy():
    program = "import sys; from transcription.speech import audio, options, transcript, registry, formats\n"
    program += "print([m for m in ('av','numpy','torch','ctranslate2','faster_whisper','pocketsphinx','onnxruntime',"
    program += "'sklearn','scipy','zmq','django') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_peaks_follow_the_loudness():
    drawn = audio.peaks(recordings.named("dialogue.flac").path, max_duration_ms=HOUR_MS, count=50)
    assert len(drawn) == 50
    assert max(drawn) > 20
    assert all(0 <= peak <= 100 for peak in drawn)
