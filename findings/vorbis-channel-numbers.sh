#!/bin/sh
# A person on channel 2 of an Ogg file is on channel 3 for the next reader, and miniaudio mixes channels unasked.
#
# Guess: a file with one person per channel comes back with the same persons on the same channels, from any codec. Who
#   asks for as many channels as the file has gets these.
# What happens, with one tone per channel, written by soundfile (libsndfile), which reads all of them as written:
#   * Vorbis and Opus in Ogg give each channel a place. From 3 channels on their order is not that of WAV and FLAC: the
#     center comes second. libsndfile writes and reads channels as they come; FFmpeg (PyAV) puts them into the order of
#     WAV. So 1 2 3 come back as 1 3 2, and of six channels five change their number.
#   * The sixth channel of Opus is a subwoofer, whose encoder cuts off what a voice has: the sixth tone is gone.
#   * miniaudio, asked for the number of channels that the file has, mixes them: of four channels of Vorbis the third is
#     1+2 and the fourth 3+4; of six the fifth is 1+4 and the sixth 3+5.
#   With FLAC all three agree, and with two channels.
# Why it matters: a service that labels speakers by channel gives the words of Bob to Carol. Nothing shows it.
#
# Found with soundfile 0.14.0, av 18.1.0, miniaudio 1.71 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 miniaudio==1.71 numpy==2.4.6 soundfile==0.14.0
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

import av
import miniaudio
import numpy as np
import soundfile

RATE = 16_000


def persons(samples):
    """Return, for each channel, the numbers of the tones (100 Hz, 200 Hz ...) that are heard in it."""
    window = np.hanning(RATE)
    spectra = [np.abs(np.fft.rfft(channel[2_000 : 2_000 + RATE] * window)) for channel in samples]
    return ["+".join(str(hertz // 100) for hertz in range(100, 700, 100) if one[hertz] > 300) for one in spectra]


def by_soundfile(path):
    return persons(soundfile.read(path)[0].T)


def by_pyav(path):
    resampler = av.AudioResampler(rate=RATE, format="fltp")
    with av.open(path) as container:
        frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return persons(np.concatenate([frame.to_ndarray() for frame in frames], axis=1))


def by_miniaudio(path):
    channels = miniaudio.get_file_info(path).nchannels
    read = miniaudio.decode_file(path, miniaudio.SampleFormat.FLOAT32, channels, RATE)
    return persons(np.array(read.samples).reshape(-1, channels).T)


READERS = {"soundfile": by_soundfile, "PyAV": by_pyav, "miniaudio": by_miniaudio}
print(", ".join(f"{name} {version(name)}" for name in ("soundfile", "av", "miniaudio")))
found = {}
for channels in (3, 4, 6):
    at = np.arange(2 * RATE) / RATE
    sound = np.stack([0.2 * np.sin(2 * np.pi * 100 * (number + 1) * at) for number in range(channels)], axis=1)
    for codec, form in {"flac": ("FLAC", "PCM_16"), "vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}.items():
        path = f"{codec}.{'flac' if codec == 'flac' else 'ogg'}"
        soundfile.write(path, sound, RATE, format=form[0], subtype=form[1])
        for reader, read in READERS.items():
            if (codec, reader) != ("opus", "miniaudio"):  # it does not read Opus
                found[channels, codec, reader] = read(path)
                heard = " ".join(one or "-" for one in found[channels, codec, reader])
                print(f"{channels} channels of {codec}, {reader}: {heard}")

AS_WRITTEN = ["1", "2", "3", "4", "5", "6"]
assert all(found[n, "flac", reader] == AS_WRITTEN[:n] for n in (3, 4, 6) for reader in READERS), found
assert all(found[n, "vorbis", "soundfile"] == AS_WRITTEN[:n] for n in (3, 4, 6)), found
assert found[3, "vorbis", "PyAV"] == found[3, "opus", "PyAV"] == found[3, "vorbis", "miniaudio"] == ["1", "3", "2"], found
assert found[4, "vorbis", "PyAV"] == found[4, "opus", "PyAV"] == ["1", "2", "3", "4"], found
assert found[6, "vorbis", "PyAV"] == ["1", "3", "2", "6", "4", "5"], found
assert found[6, "opus", "soundfile"] == ["1", "2", "3", "4", "5", ""], found
assert found[6, "opus", "PyAV"] == ["1", "3", "2", "", "4", "5"], found
assert found[4, "vorbis", "miniaudio"] == ["1", "2", "1+2", "3+4"], found
assert found[6, "vorbis", "miniaudio"] == ["1", "3", "2", "6", "1+4", "3+5"], found
print("as found: channel 2 is channel 3 for the next reader, and one of them mixes channels")
END
