#!/bin/sh
# Two readers of one telephone codec take its four-bit codes in opposite order.
#
# Guess: G.721 (today G.726 at 32 kbit/s) is an ITU standard, so FFmpeg reads what libsndfile writes.
# What happens: both agree on the WAV format tag (0x40) and disagree on which half of a byte comes first. libsndfile
#   packs the first code into the low half; FFmpeg's decoder for WAV expects it in the high half. FFmpeg returns
#   the right number of samples without an error, but the sound is near noise (1 to 9 dB above its own error,
#   instead of 23 to 40). In an AU file FFmpeg reads the same codes in the right order.
# Why it matters: recordings of older telephone systems come out as a hoarse rattle, and the transcript is empty or
#   wrong at full price. Nothing in the file or in the decoder's answer tells. Swapping the halves brings back what
#   FFmpeg gets from AU (11 to 22 dB; the two decoders differ in detail as well).
#
# Found with soundfile 0.14.0 and av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6 soundfile==0.14.0
cd "$work"
venv/bin/python - <<'END'
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 8000
t = np.arange(RATE * 5) / RATE
swell = 0.5 + 0.5 * np.sin(4 * np.pi * t)
SOUNDS = {
    "voice": 0.1 * sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 20)) * swell,
    "sweep": 0.3 * np.sin(2 * np.pi * (200 * t + 30 * t**2)) * swell,
    "noise": np.convolve(np.random.default_rng(0).normal(0, 0.2, len(t)), np.ones(6) / 6, "same"),
}


def quality(sound, heard):
    """Return the signal above the error in dB, at the best alignment within 8 samples."""
    best = -np.inf
    for shift in range(-8, 9):
        one, other = sound[max(0, -shift):], heard[max(0, shift):]
        count = min(len(one), len(other))
        one, other = one[:count], other[:count]
        best = max(best, 10 * np.log10(np.sum(one**2) / np.sum((one - other) ** 2)))
    return round(float(best), 1)


def by_pyav(path):
    with av.open(path) as container:
        stream = container.streams.audio[0]
        pieces = [frame.to_ndarray().ravel() for frame in container.decode(stream)]
        return stream.codec_context.name, np.concatenate(pieces) / 32768


def swapped(path, to):
    """Copy a WAV with the two halves of each byte of sound exchanged."""
    whole = Path(path).read_bytes()
    start = whole.index(b"data") + 8
    halves = np.frombuffer(whole[start:], np.uint8)
    Path(to).write_bytes(whole[:start] + (halves << 4 | halves >> 4).astype(np.uint8).tobytes())


print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
for name, sound in SOUNDS.items():
    soundfile.write("call.wav", sound, RATE, format="WAV", subtype="G721_32")
    own = quality(sound, soundfile.read("call.wav")[0])
    codec, heard = by_pyav("call.wav")
    other = quality(sound, heard)
    swapped("call.wav", "swapped.wav")
    repaired = quality(sound, by_pyav("swapped.wav")[1])
    soundfile.write("call.au", sound, RATE, format="AU", subtype="G721_32")
    from_au = quality(sound, by_pyav("call.au")[1])
    print(f"{name}: soundfile {own} dB; PyAV ({codec}) {other} dB; PyAV after swapping the halves {repaired} dB, "
          f"from AU {from_au} dB")
    assert codec == "g726" and len(heard) >= len(sound)
    assert own > 20 and other < 10, (own, other)
    assert min(repaired, from_au) > other + 4, (repaired, from_au, other)
print("as found: FFmpeg takes the halves of each byte in the other order, without an error")
END
