#!/bin/sh
# AMR recordings of telephones lose their pauses in FFmpeg's own decoder.
#
# Guess: a telephone's AMR file with discontinuous transmission (DTX, the usual setting: the phone sends almost
#   nothing while its owner is silent) decodes like any other file. Pauses come out as silence or soft noise.
# What happens: FFmpeg's decoder `amrnb`, which PyAV picks by itself, refuses every frame of a pause ("Not yet
#   implemented" for comfort noise, "Invalid data" for frames without data). The usual loop
#   `for frame in container.decode(audio=0)` raises at the first pause. A loop that skips bad packets returns 6.04 s
#   of 17.02 s, with all pauses cut out. The stated duration is wrong too: it is a guess from the bit rate.
#   The same wheel holds `libopencore_amrnb`, which decodes all frames. It must be asked for by name.
# Why it matters: times of words are wrong by the sum of the pauses before them, and a file that begins with two
#   seconds of silence looks as if it held no audio at all.
#
# Found with av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'END'
from collections import Counter

import av
import numpy as np

RATE = 8000


def buzz(seconds, pitch):
    """A voice-like tone with many harmonics that swells three times a second."""
    t = np.arange(seconds * RATE) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 20))
    return 0.25 * tone / np.abs(tone).max() * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))


noise = np.random.default_rng(1)
parts = [buzz(2, 120), noise.normal(0, 1e-3, 6 * RATE), buzz(2, 150), noise.normal(0, 1e-3, 6 * RATE), buzz(1, 180)]
samples = (np.concatenate(parts) * 32767).astype(np.int16)

with av.open("call.amr", "w") as out:
    stream = out.add_stream("libopencore_amrnb", rate=RATE, options={"dtx": "1"})
    stream.layout, stream.bit_rate = "mono", 12_200
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    for packet in [*stream.encode(frame), *stream.encode(None)]:
        out.mux(packet)


def decoded(codec_name):
    """Return (name of the decoder, seconds decoded, packets refused by kind of error)."""
    refused, count = Counter(), 0
    with av.open("call.amr") as container:
        stream = container.streams.audio[0]
        context = av.CodecContext.create(codec_name or stream.codec_context.codec.name, "r")
        context.sample_rate, context.layout = RATE, "mono"
        for packet in container.demux(stream):
            try:
                count += sum(frame.samples for frame in context.decode(packet))
            except av.FFmpegError as error:
                refused[type(error).__name__] += 1
        return context.codec.name, count / RATE, dict(refused)


with av.open("call.amr") as container:
    stated = container.duration / 1e6
    try:
        for _ in container.decode(audio=0):
            pass
        plain = "no error"
    except av.FFmpegError as error:
        plain = type(error).__name__
default, by_name = decoded(None), decoded("libopencore_amrnb")

print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
print(f"written {len(samples) / RATE} s, stated duration {stated:.2f} s")
print("plain loop:", plain)
print("skipping bad packets:", default)
print("decoder by name:     ", by_name)

assert plain == "PatchWelcomeError", plain
assert default == ("amrnb", 6.04, {"PatchWelcomeError": 71, "InvalidDataError": 478}), default
assert by_name == ("libopencore_amrnb", 17.02, {}), by_name
assert 6.5 < stated < 7.5, stated
print("as found: the default decoder refuses all frames of the pauses, 6.04 s of 17.02 s remain")
END
