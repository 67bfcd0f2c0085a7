#!/bin/sh
# The frame length of webrtcvad decides more about noise than its aggressiveness does.
#
# Guess: 10, 20 and 30 ms frames are a matter of convenience. The mode (0 to 3) says how much noise is let through,
#   and longer frames, which hear more, let less through.
# What happens: of 12 s of even white noise (deviation 0.05) at 16 kHz, mode 3 takes 15 % for speech in frames of 10 ms,
#   28 % at 20 ms and 97 % at 30 ms. Softer noise (0.01) behaves the other way: mode 0 takes 20 % at 10 ms and 1 % at
#   30 ms. Thresholds belong to a frame length, and the noise estimate learns per frame, not per second.
# Why it matters: a fan in the room decides between "silence, nothing charged" and "one clip of 30 s to
#   recognise" by a parameter that reads like a buffer size. Settings tuned on 10 ms frames must not be reused at 30 ms.
#
# Found with webrtcvad-wheels 2.0.14.post1 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq numpy==2.4.6 webrtcvad-wheels==2.0.14.post1
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

import numpy as np
import webrtcvad

RATE = 16000


def share(samples, *, mode, frame_ms):
    """Return the percentage of frames that are taken for speech."""
    size = RATE * frame_ms // 1000
    detector = webrtcvad.Vad(mode)
    frames = [samples[at : at + size].tobytes() for at in range(0, len(samples) - size + 1, size)]
    return round(100 * sum(detector.is_speech(frame, RATE) for frame in frames) / len(frames))


print("webrtcvad-wheels", version("webrtcvad-wheels"))
found = {}
for level in (0.01, 0.05):
    noise = np.random.default_rng(0).normal(0, level, RATE * 12)
    samples = (np.clip(noise, -1, 1) * 32767).astype("<i2")
    for mode in range(4):
        found[level, mode] = [share(samples, mode=mode, frame_ms=frame_ms) for frame_ms in (10, 20, 30)]
        print(f"noise {level}, mode {mode}: {found[level, mode]} % speech in frames of 10, 20, 30 ms")

loud, soft = found[0.05, 3], found[0.01, 0]
assert loud[0] < 20 and loud[1] < 40 and loud[2] > 90, loud
assert soft[0] > 15 and soft[1] < 3 and soft[2] < 3, soft
print("as found: mode 3 takes", loud[0], "% of the noise for speech at 10 ms and", loud[2], "% at 30 ms")
END
