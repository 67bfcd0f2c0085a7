#!/bin/sh
# Readers of tags give a WAV of ten seconds almost any length, also when nothing in it is unusual for a telephone.
#
# Guess: how long a WAV is can be read from its header by any library for tags. Where the header leaves the size
#   open (a streaming writer does not know it yet), libraries for sound read on to the end of the file.
# What happens:
#   * mutagen divides the bytes by the block size and by the sample rate, as if a block were one sample: 10 s of
#     MS ADPCM are 0.02 s, of GSM 0.03 s, of G.721 0.08 s. In AIFF-C with IMA ADPCM mutagen and tinytag say 0.16 s.
#   * A size of 0xFFFFFFFF (FFmpeg into a pipe) is 74 hours for mutagen, tinytag and Python's own `wave`.
#   * A size of 0 (a recorder that was switched off before it wrote the size): soundfile and miniaudio return no
#     sound at all, and no error. PyAV alone returns the 10 s.
# Why it matters: clients read the length to choose an endpoint or to show a price before they upload. A call of an
#   hour in ADPCM looks like seven seconds, a streamed answer of a speech engine like three days.
#
# Found with mutagen 1.48.1, tinytag 2.3.2, soundfile 0.14.0, miniaudio 1.71, av 18.1.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 miniaudio==1.71 mutagen==1.48.1 numpy==2.4.6 soundfile==0.14.0 \
    tinytag==2.3.2
cd "$work"
venv/bin/python - <<'END'
import struct
import wave
from importlib.metadata import version
from pathlib import Path

import av
import miniaudio
import mutagen
import numpy as np
import soundfile
from tinytag import TinyTag

RATE = 8000
sound = np.random.default_rng(0).normal(0, 0.1, RATE * 10)


def by_pyav(path):
    with av.open(path) as container:
        return sum(frame.samples for frame in container.decode(audio=0)) / RATE


READERS = {
    "mutagen": lambda path: mutagen.File(path).info.length,
    "tinytag": lambda path: TinyTag.get(path).duration,
    "wave": lambda path: wave.open(path).getnframes() / RATE,
    "soundfile": lambda path: len(soundfile.read(path)[0]) / RATE,
    "miniaudio": lambda path: len(miniaudio.decode_file(path, nchannels=1, sample_rate=RATE).samples) / RATE,
    "PyAV": by_pyav,
}


def lengths(path):
    found = {}
    for name, read in READERS.items():
        try:
            found[name] = round(read(path), 3)
        except Exception as error:
            found[name] = type(error).__name__
    print(f"{path}: " + ", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def streamed(path, size):
    """Write 10 s of 16-bit samples under a header that leaves the size open."""
    samples = (sound * 32767).astype("<i2").tobytes()
    form = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    riff = size if size else len(form) + 8
    Path(path).write_bytes(b"RIFF" + struct.pack("<I", riff) + form + b"data" + struct.pack("<I", size) + samples)


print(", ".join(f"{name} {version(name)}" for name in ("av", "miniaudio", "mutagen", "soundfile", "tinytag")))
CODECS = {"ulaw.wav": "ULAW", "ms-adpcm.wav": "MS_ADPCM", "gsm.wav": "GSM610", "g721.wav": "G721_32"}
CODECS["ima.aiff"] = "IMA_ADPCM"
for path, codec in CODECS.items():
    soundfile.write(path, sound, RATE, subtype=codec)
streamed("ffffffff.wav", 0xFFFFFFFF)
streamed("zero.wav", 0)
found = {path: lengths(path) for path in (*CODECS, "ffffffff.wav", "zero.wav")}

assert {found["ulaw.wav"][name] for name in ("mutagen", "tinytag", "soundfile", "miniaudio", "PyAV")} == {10.0}, found
assert found["ms-adpcm.wav"]["mutagen"] == 0.02 and found["ms-adpcm.wav"]["PyAV"] == 10.0, found
assert found["gsm.wav"]["mutagen"] == 0.031 and found["gsm.wav"]["PyAV"] == 10.0, found
assert found["g721.wav"]["mutagen"] == 0.078 and found["g721.wav"]["PyAV"] == 10.005, found
assert found["ima.aiff"]["mutagen"] == found["ima.aiff"]["tinytag"] == 0.156, found
assert found["ima.aiff"]["PyAV"] == 10.0, found
assert {found["ffffffff.wav"][name] for name in ("mutagen", "tinytag", "wave")} == {268435.456}, found
assert {found["ffffffff.wav"][name] for name in ("soundfile", "miniaudio", "PyAV")} == {10.0}, found
assert {found["zero.wav"][name] for name in ("wave", "soundfile", "miniaudio")} == {0.0}, found
assert found["zero.wav"]["PyAV"] == 10.0, found
print("as found: 10 s are 0.02 s, 74 hours or nothing")
END
