#!/bin/sh
# A track of an MPEG transport stream changes its codec, and the decoder stays.
#
# Guess: the table of tracks says that the PID goes on in another codec, so the reader takes another decoder.
# What happens (PyAV): libavformat notices, but PyAV keeps the decoder with which the file was opened. Of 5 s of MP2 and
#   5 s of AAC on one PID, 5 s are decoded; the packets of the rest fail or give nothing.
# Why it matters: stations change their codec, and recordings of programs that number their tracks alike are joined. Half of the
#   recording is silence.
#
# Found with av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.2.6
cd "$work"
venv/bin/python - <<'END'
from pathlib import Path

import av
import numpy as np


def write(path, codec):
    """Write 5 s of a tone as the only track of a transport stream."""
    at = np.arange(5 * 48_000) / 48_000
    tone = (0.4 * np.sin(2 * np.pi * 440 * at) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        stream.format = stream.codec_context.codec.audio_formats[0].name
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        fifo = av.AudioFifo()
        for part in av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48_000).resample(frame):
            fifo.write(part)
        size = stream.codec_context.frame_size
        while (part := fifo.read(size, partial=fifo.samples < size)) is not None:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))


def seconds(content):
    """Return the seconds that decode, and the packets that do not."""
    Path("read.ts").write_bytes(content)
    decoded, failed = 0.0, 0
    with av.open("read.ts") as container:
        for packet in container.demux(audio=0):
            try:
                decoded += sum(frame.samples / frame.sample_rate for frame in packet.decode())
            except av.FFmpegError:
                failed += 1
    return round(decoded), failed


print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
write("one", "mp2")
write("two", "aac")
one, two = Path("one").read_bytes(), Path("two").read_bytes()
both = seconds(one + two)
print("mp2:", seconds(one), "aac:", seconds(two), "both on one PID:", both)
assert seconds(one)[0] == seconds(two)[0] == 5
assert both[0] == 5, both
END
echo "as found: 5 of 10 s are decoded"
