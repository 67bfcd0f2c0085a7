from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures import hostile, make_recordings, recordings
from transcription.speech import audio, errors, probing
from transcription.speech.samples import SAMPLE_RATE, SAMPLES_PER_MS, ms_to_samples, samples_to_ms

HOUR_MS = 3_600_000
MADE = recordings.everything()


def read(path, max_duration_ms=10 * HOUR_MS):
    return np.concatenate(list(audio.windows(path, max_duration_ms=max_duration_ms)))


@pytest.mark.parametrize("recording", MADE, ids=lambda one: one.path.name)
def test_decoded_length_is_the_probed_length(recording):
    decoded_ms = samples_to_ms(len(read(recording.path)))
    assert abs(decoded_ms - probing.probe(recording.path, max_duration_ms=10 * HOUR_MS).duration_ms) <= 100


def test_playlist_reaches_no_other_file(tmp_path):
    """Attack: a playlist makes the server read its own files or call its own network."""
    target = recordings.named("sentence-slt.wav").path
    with pytest.raises(errors.NotAudio):
        read(hostile.playlist(tmp_path, target=f"file://{target}"))


def test_bomb_is_refused_while_decoding_too(tmp_path):
    windows = audio.windows(hostile.flac_bomb(tmp_path), max_duration_ms=60_000)
    assert len(next(windows)) == ms_to_samples(30_000)
    with pytest.raises(errors.AudioTooLong):
        next(windows)


def test_corrupt_packets_are_skipped(tmp_path):
    content = bytearray(recordings.named("sentence-rms.mp3").path.read_bytes())
    content[15_000:15_800] = bytes(800)
    path = tmp_path / "scratched.mp3"
    path.write_bytes(content)
    decoded_ms = samples_to_ms(len(read(path)))
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
    assert abs(len(read(path)) - SAMPLE_RATE) <= SAMPLES_PER_MS


def test_windows_have_the_length_asked_for():
    path = recordings.named("dialogue.flac").path
    lengths = [len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS, window_ms=4_000)]
    assert lengths[:-1] == [ms_to_samples(4_000)] * (len(lengths) - 1)
    assert samples_to_ms(sum(lengths)) == recordings.named("dialogue.flac").duration_ms


def test_long_file_is_decoded_in_flat_memory(tmp_path):
    """An hour of float32 samples is 230 MB; decoding must need much less."""
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.zeros(make_recordings.RATE * 1_800, dtype="<i2"))
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
    program = "import sys; from transcription.speech import audio, options, probing, transcript, registry, formats\n"
    program += "print([m for m in ('av','numpy','torch','ctranslate2','faster_whisper','pocketsphinx','onnxruntime',"
    program += "'sklearn','scipy','zmq','django') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_peaks_follow_the_loudness():
    drawn = audio.peaks(recordings.named("dialogue.flac").path, max_duration_ms=HOUR_MS, count=50)
    assert len(drawn) == 50
    assert max(drawn) > 20
    assert all(0 <= peak <= 100 for peak in drawn)
