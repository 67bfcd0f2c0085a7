#!/bin/sh
# Subtitles of recordings that are longer than 10, 24 and 100 hours.
#
# Guess: SRT and WebVTT have no largest hour (the W3C's grammar allows two or more digits), so libraries keep the time of
#   a cue, or say that they cannot.
# What happens: five libraries keep it: srt, pysrt, webvtt-py, FFmpeg (PyAV), and ttconv up to 999 hours.
#   - pycaption writes the time modulo a day, to SRT, WebVTT and DFXP: 25:00:05 becomes 01:00:05. SAMI keeps it.
#   - pysubs2 reads only the last two digits of the hour in SRT: 100:00:05 becomes 00:00:05. In WebVTT it reads 100 hours,
#     and writes 99:59:59.999 as start and as end. To ASS it writes 9:59:59.99 for all that begins after ten hours.
#     It warns about the two, by Python's warnings, and about the first not at all.
# Why it matters: night-long monitors, body-worn cameras and council sessions in several days are transcribed as one
#   recording. The last hours then stand on top of the first ones, and no program complains.
#
# Found with pycaption 2.3.14, pysubs2 1.8.1, srt 3.5.3, pysrt 1.1.2, webvtt-py 0.6.0, ttconv 1.2.3, av 18.1.0 in 2026-12.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pycaption==2.3.14 pysubs2==1.8.1 srt==3.5.3 pysrt==1.1.2 webvtt-py==0.6.0 ttconv==1.2.3 av==18.1.0
cd "$work"
venv/bin/python - 2>warnings.txt <<'END'
import io
import re

import av
import pycaption
import pysrt
import pysubs2
import srt
import ttconv.srt.reader
import ttconv.srt.writer
import ttconv.vtt.reader
import ttconv.vtt.writer
import webvtt

HOURS = (9, 23, 25, 100)


def srt_of(hours):
    return f"1\n{hours:02}:00:05,000 --> {hours:02}:00:06,000\nGood morning.\n"


def vtt_of(hours):
    return f"WEBVTT\n\n{hours:02}:00:05.000 --> {hours:02}:00:06.000\nGood morning.\n"


def by_ffmpeg(text, name):
    with av.open(io.BytesIO(text.encode()), format=name) as container:
        [packet] = [packet for packet in container.demux() if packet.size]
        return f"{int(packet.pts * packet.time_base // 3600)}:00:05"


ways = {
    "srt to SRT": lambda hours: srt.compose(srt.parse(srt_of(hours))),
    "pysrt to SRT": lambda hours: str(pysrt.from_string(srt_of(hours))[0]),
    "webvtt-py to VTT": lambda hours: webvtt.from_string(vtt_of(hours)).content,
    "ttconv to SRT": lambda hours: ttconv.srt.writer.from_model(ttconv.srt.reader.to_model(io.StringIO(srt_of(hours)))),
    "ttconv to VTT": lambda hours: ttconv.vtt.writer.from_model(ttconv.vtt.reader.to_model(io.StringIO(vtt_of(hours)))),
    "FFmpeg reads SRT": lambda hours: by_ffmpeg(srt_of(hours), "srt"),
    "FFmpeg reads VTT": lambda hours: by_ffmpeg(vtt_of(hours), "webvtt"),
    "pycaption to SRT": lambda hours: pycaption.SRTWriter().write(pycaption.SRTReader().read(srt_of(hours))),
    "pycaption to VTT": lambda hours: pycaption.WebVTTWriter().write(pycaption.WebVTTReader().read(vtt_of(hours))),
    "pycaption to DFXP": lambda hours: pycaption.DFXPWriter().write(pycaption.SRTReader().read(srt_of(hours))),
    "pysubs2 to SRT": lambda hours: pysubs2.SSAFile.from_string(srt_of(hours)).to_string("srt"),
    "pysubs2 to VTT": lambda hours: pysubs2.SSAFile.from_string(vtt_of(hours)).to_string("vtt"),
    "pysubs2 to ASS": lambda hours: pysubs2.SSAFile.from_string(srt_of(hours)).to_string("ass").split("Dialogue:")[1],
}
found = {}
for name, way in ways.items():
    found[name] = tuple(re.search(r"\d+:\d\d:\d\d", way(hours))[0].lstrip("0") for hours in HOURS)
    print(f"  {name}: {', '.join(found[name])}")

true = ("9:00:05", "23:00:05", "25:00:05", "100:00:05")
a_day = ("9:00:05", "23:00:05", "1:00:05", "4:00:05")
expected = dict.fromkeys(ways, true)
expected |= dict.fromkeys((name for name in ways if "pycaption" in name), a_day)
expected["pysubs2 to SRT"] = ("9:00:05", "23:00:05", "25:00:05", ":00:05")
expected["pysubs2 to VTT"] = ("9:00:05", "23:00:05", "25:00:05", "99:59:59")
expected["pysubs2 to ASS"] = ("9:00:05", "9:59:59", "9:59:59", ":00:05")
assert found == expected, found
END
grep -c "Overflow in SubStation timestamp" warnings.txt >/dev/null
echo "as found: pycaption begins each day at 0, pysubs2 ends ASS at ten hours and reads 100 hours of SRT as none"
