#!/bin/sh
# A short Ogg Vorbis recording ends with a packet that states 149 hours.
#
# Guess: the packets' durations of a short recording add up to its length, perhaps a few milliseconds more.
# What happens: when all sound fits on one Ogg page, as a quiet or short recording written by soundfile does, the last
#   packet should be shortened to the page's end position. FFmpeg calculates a negative length there and returns it
#   as an unsigned 32-bit number: the packet's duration is about 4,294,967,000 samples. Decoding is right but for
#   the padding; the stream's stated duration is right as well. Only the packet is wrong.
# Why it matters: a service that distrusts headers adds up packets (a browser's WebM states no length). Such a service
#   takes a voice command of two seconds for a recording of six days, and refuses it as too long.
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


def look(sound):
    """Return (pages that hold sound, seconds stated, seconds decoded, seconds of all packets, duration of the last)."""
    soundfile.write("say.ogg", sound, RATE, format="OGG", subtype="VORBIS")
    pages = Path("say.ogg").read_bytes().count(b"OggS") - 2  # two pages of headers
    with av.open("say.ogg") as container:
        stream = container.streams.audio[0]
        packets = [packet.duration or 0 for packet in container.demux(stream) if packet.size]
        stated = float(stream.duration * stream.time_base)
    with av.open("say.ogg") as container:
        decoded = sum(frame.samples for frame in container.decode(audio=0)) / RATE
    return pages, stated, decoded, sum(packets) / RATE, packets[-1]


t = np.arange(int(RATE * 5.03)) / RATE
short = look(0.3 * np.sin(2 * np.pi * 200 * t) * (0.5 + 0.5 * np.sin(4 * np.pi * t)))
long = look(np.random.default_rng(0).normal(0, 0.1, len(t)))
print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
for name, (pages, stated, decoded, counted, last) in (("tone", short), ("noise", long)):
    print(f"{name}: {pages} page(s) of sound, stated {stated} s, decoded {decoded} s, packets {counted:.1f} s, "
          f"last packet {last}")

assert short[0] == 1 and long[0] > 1, (short, long)
assert short[1] == long[1] == 5.03, (short, long)
assert 2**32 - 512 < short[4] < 2**32 and short[3] > 149 * 3600, short
assert 0 < long[4] < 512 and long[3] < 5.1, long
print(f"as found: the packets of a recording of 5.03 s add up to {short[3] / 3600:.0f} hours")
END
