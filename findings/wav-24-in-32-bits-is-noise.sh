#!/bin/sh
# FFmpeg (PyAV) turns a WAV with 24 valid bits in samples of 32 bits into noise, and one with 16 into slow speech.
#
# Guess: WAVE_FORMAT_EXTENSIBLE states how wide a sample lies in the file (`wBitsPerSample`) and how many of its
#   upper bits are used (`wValidBitsPerSample`). The rest is zero, so that every reader may ignore the second number.
# What happens: FFmpeg takes the second number for the width. No error, and mostly the right number of seconds:
#   * 24 in 32: is read as a rare format of floating point numbers: the right length, and samples up to 2e31.
#   * 20 in 32: is read as packed 24 bits: noise that is a third longer than the recording.
#   * 16 in 32: each sample becomes two, one of them zero: a tone of 440 Hz is one of 220 Hz, twice as long.
#   20 in 24 is read well. soundfile and SciPy read all of them.
# Why it matters: Windows describes the samples of a sound card with 24 bits this way, and a recorder may copy the
#   description into its header. The transcript is made of noise, and with 16 in 32 bits the price is doubled.
#
# Found with av 18.1.0, soundfile 0.14.0, scipy 1.17.1 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6 scipy==1.17.1 soundfile==0.14.0
cd "$work"
venv/bin/python - <<'END'
import struct
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.io import wavfile

RATE = 16_000
TONE = np.rint(0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * 2**31).astype("<i4")
PCM = bytes.fromhex("0100000000001000800000aa00389b71")


def write(path, *, bits, valid):
    """Write one second of 440 Hz, at half of the largest level."""
    samples = TONE & -(1 << (32 - valid))
    content = samples.tobytes() if bits == 32 else b"".join(one.tobytes()[1:] for one in samples)
    size = bits // 8
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * size, size, bits, 22, valid, 4) + PCM
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(content)) + content
    Path(path).write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)


def described(samples, largest):
    spectrum = np.abs(np.fft.rfft(samples[:RATE].astype(float) / largest))
    return len(samples), float(f"{np.abs(samples.astype(float)).max() / largest:.2g}"), int(spectrum.argmax())


def by_pyav(path):
    with av.open(path) as container:
        codec = container.streams.audio[0].codec_context.name
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    largest = {"int16": 2**15, "int32": 2**31, "float32": 1}[str(samples.dtype)]
    return codec, *described(samples, largest)


print(", ".join(f"{name} {version(name)}" for name in ("av", "soundfile", "scipy")))
found = {}
for valid, bits in ((32, 32), (24, 32), (20, 32), (16, 32), (20, 24)):
    name = f"{valid} in {bits}"
    write("tone.wav", bits=bits, valid=valid)
    others = described(soundfile.read("tone.wav")[0], 1), described(wavfile.read("tone.wav")[1], 2**31)
    found[name] = by_pyav("tone.wav")
    print(f"{name}: (samples, level, Hz) PyAV {found[name]}, soundfile {others[0]}, SciPy {others[1]}")
    assert others == ((RATE, 0.5, 440),) * 2, others

assert found["32 in 32"] == ("pcm_s32le", RATE, 0.5, 440), found
assert found["24 in 32"][:3] == ("pcm_f24le", RATE, 2e31), found
assert found["20 in 32"][:3] == ("pcm_s24le", 21_328, 1.0), found
assert found["16 in 32"] == ("pcm_s16le", 2 * RATE, 0.5, 220), found
assert found["20 in 24"] == ("pcm_s24le", RATE, 0.5, 440), found
print("as found: 24 valid bits of 32 are samples of 2e31, 16 of 32 are twice as long")
END
