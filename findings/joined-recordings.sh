#!/bin/sh
# How much is heard of recordings that were joined byte by byte depends on their format, and no error says so.
#
# Guess: FFmpeg reads the first of joined recordings, or all of them, or fails where the second begins.
# What happens (PyAV, so FFmpeg): of three WebM files the first two are decoded and the third is not. Of three FLV,
#   W64 or WMA files only the first is decoded. FLAC files are decoded to the end. No case raises an error.
# Why it matters: browsers make a WebM for each stretch between two pauses, and customers join them. The transcript
#   then ends after the second, though the file is whole and nothing says that a third was there.
#
# Found with av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'END'
from pathlib import Path

import av
import numpy as np


def write(path, container, codec, rate):
    """Write 2 s of a tone."""
    at = np.arange(2 * rate) / rate
    tone = (0.4 * np.sin(2 * np.pi * 440 * at) * 32767).astype(np.int16)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.format = stream.codec_context.codec.audio_formats[0].name
        if codec == "wmav2":
            stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        fifo = av.AudioFifo()
        for part in av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate).resample(frame):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=fifo.samples < size)) is not None:
            for packet in stream.encode(part):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)


def seconds(path):
    with av.open(str(path)) as container:
        return round(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
found = {}
for container, codec, rate in (
    ("webm", "libopus", 48_000),
    ("flv", "aac", 44_100),
    ("w64", "pcm_s16le", 16_000),
    ("asf", "wmav2", 44_100),
    ("flac", "flac", 16_000),
):
    write(Path("one"), container, codec, rate)
    Path("three").write_bytes(Path("one").read_bytes() * 3)
    found[container] = (seconds("one"), seconds("three"))
    print(f"{container}: one file {found[container][0]} s, three of it joined {found[container][1]} s")

assert found == {
    "webm": (2, 4),
    "flv": (2, 2),
    "w64": (2, 2),
    "asf": (2, 2),
    "flac": (2, 6),
}, found
print("as found: of three joined FLAC three are heard, of WebM two, and of FLV, W64 and WMA one")
END
