from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures import encoding, hostile, make_recordings, recordings
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import HOUR_MS, heard
from transcription.speech import audio, errors, probing
from transcription.speech.samples import SAMPLE_RATE, SAMPLES_PER_MS, ms_to_samples, samples_to_ms

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
        list(windows)


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


@pytest.mark.slow
def test_long_file_is_decoded_in_flat_memory(tmp_path):
    """A quarter of an hour of float32 samples is 58 MB; decoding must need much less."""
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.zeros(make_recordings.RATE * 900, dtype="<i2"))
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


# The mix


@pytest.mark.parametrize(("channels", "codec"), [(2, "pcm_f32le"), (6, "pcm_f32le"), (2, "pcm_s16le")])
def test_equal_channels_keep_their_level(channels, codec, tmp_path):
    sound = tone(2, channels=channels, level=0.9)
    samples, _ = heard(encoding.write(tmp_path / "equal.wav", sound, container="wav", codec=codec))
    assert np.abs(samples).max() == pytest.approx(0.9, abs=0.001)


def test_reversed_polarity_gives_the_words_of_the_mono(tmp_path):
    """`sox speech.wav inv.wav remix 1 1i` was completed without words."""
    mono = read(recordings.named("sentence-slt.wav").path)
    sound = np.vstack([mono, -mono])
    samples, _ = heard(encoding.write(tmp_path / "inv.wav", sound, container="wav", codec="pcm_f32le"))
    assert np.allclose(samples, mono, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("channels", [3, 7, 8, 9, 10, 12, 16, 64])
@pytest.mark.parametrize("place", ["first", "last"])
def test_no_channel_is_dropped(channels, place, tmp_path):
    sound = np.zeros((channels, SAMPLE_RATE // 2), dtype=np.float32)
    sound[0 if place == "first" else -1] = tone(0.5)[0]
    path = encoding.wav(tmp_path / "many.wav", sound)
    assert np.abs(heard(path)[0]).max() == pytest.approx(0.4, abs=0.001)
    number = 0 if place == "first" else channels - 1
    assert np.abs(heard(path, channel=number)[0]).max() == pytest.approx(0.4, abs=0.001)
    assert np.abs(heard(path, channel=1)[0]).max() == 0


@pytest.mark.long
@pytest.mark.parametrize(("container", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "libopus")])
def test_each_of_eight_channels_is_its_own(container, codec, tmp_path):
    """PyAV reads beyond the planes of a planar frame of 8 channels."""
    sound = np.vstack([tone(1, rate=48_000, level=0.1 * (number + 1)) for number in range(8)])
    path = encoding.write(tmp_path / "film", sound, container=container, codec=codec, rate=48_000)
    for number in range(8):
        samples, _ = heard(path, channel=number)
        assert np.abs(samples[4_000:12_000]).max() == pytest.approx(0.1 * (number + 1), rel=0.05)


def test_center_of_a_film_is_heard(tmp_path):
    sound = np.zeros((6, 2 * SAMPLE_RATE), dtype=np.float32)
    sound[2] = tone(2)[0]
    samples, _ = heard(encoding.write(tmp_path / "film.wav", sound, container="wav", codec="pcm_s16le"))
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("kind", ["RIFF", "RF64", "W64"])
@pytest.mark.parametrize("used", [24, 20, 16])
def test_wav_that_uses_part_of_its_bits_is_heard(used, kind, tmp_path):
    """FFmpeg makes noise of it, or twice the length (findings/wav-24-in-32-bits-is-noise.sh)."""
    path = tmp_path / "card.wav"
    path.write_bytes(wav_of_32_bits(tone(2), used=used, kind=kind))
    samples, _ = heard(path)
    assert len(samples) == 2 * SAMPLE_RATE
    assert np.abs(samples - tone(2)[0]).max() < 1e-3
    assert probing.probe(path, max_duration_ms=HOUR_MS).duration_ms == 2_000


def test_wavs_that_use_part_of_their_bits_are_heard_behind_each_other(tmp_path):
    path = tmp_path / "joined.wav"
    path.write_bytes(wav_of_32_bits(tone(2), used=24) + wav_of_32_bits(tone(2), used=16))
    samples, _ = heard(path)
    assert len(samples) == 4 * SAMPLE_RATE
    assert np.abs(samples).max() == pytest.approx(0.4, abs=1e-3)


def wav_of_32_bits(sound, *, used, kind="RIFF"):
    """Return a mono WAV whose samples have 32 bits, of which the upper ones are used."""
    content = ((sound[0].astype(np.float64) * 2**31).astype("<i4") & -(1 << (32 - used))).tobytes()
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 1, SAMPLE_RATE, 4 * SAMPLE_RATE, 4, 32, 22, used, 4)
    head += bytes.fromhex("0100000000001000800000aa00389b71")
    if kind == "W64":
        rest = bytes.fromhex("f3acd3118cd100c04f8edb8a")
        chunks = b"wave" + rest + b"fmt " + rest + struct.pack("<Q", 24 + len(head)) + head
        chunks += b"data" + rest + struct.pack("<Q", 24 + len(content)) + content
        return b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 24 + len(chunks)) + chunks
    size, sizes = len(content), b""
    if kind == "RF64":
        sizes = b"ds64" + struct.pack("<IQQQI", 28, size + 96, size, size // 4, 0)
        size = 0xFFFFFFFF
    chunks = b"WAVE" + sizes + b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", size) + content
    return kind.encode() + struct.pack("<I", size if sizes else len(chunks)) + chunks


def test_float_of_another_scale_is_not_clipped(tmp_path):
    sound = tone(2, level=20_000.0)
    samples, _ = heard(encoding.write(tmp_path / "scale.wav", sound, container="wav", codec="pcm_f32le"))
    assert np.corrcoef(samples, sound[0])[0, 1] > 0.99
