#!/bin/sh
# A Python reader of subtitles drops a spoken number that stands on a line of its own.
#
# Guess: a reader of SRT and WebVTT returns each subtitle's lines as they are written.
# What happens: pysubs2 takes a last line of digits for the number of the next subtitle and removes it. In SRT that
#   costs the last subtitle its number. WebVTT files usually have no such numbers, so there every subtitle loses its
#   last line if that is a number: "The code is / 4711" becomes "The code is". Nothing is raised or logged. webvtt-py,
#   pysrt and srt keep all of it.
# Why it matters: people dictate codes, years, prices and telephone numbers, and a line break before a long number is
#   usual. pysubs2 is what many subtitle tools are built on (conversion, shifting, burning in).
#
# Found with pysubs2 1.8.1, webvtt-py 0.6.0, pysrt 1.1.2 and srt 3.5.3 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pysubs2==1.8.1 webvtt-py==0.6.0 pysrt==1.1.2 srt==3.5.3
cat > look.py <<'END'
from importlib.metadata import version

import pysrt
import pysubs2
import srt
import webvtt

CUES = ["The code is\n4711", "We met in\n1999", "Call me at\n5550123"]


def written(kind):
    point, numbers = ("." if kind == "vtt" else ","), kind == "srt"
    body = "".join(
        (f"{at + 1}\n" if numbers else "") + f"00:00:0{at}{point}000 --> 00:00:0{at}{point}900\n{text}\n\n"
        for at, text in enumerate(CUES)
    )
    return body if numbers else "WEBVTT\n\n" + body


readers = {
    "pysubs2 SRT": lambda: [one.plaintext for one in pysubs2.SSAFile.from_string(written("srt"), "srt")],
    "pysubs2 WebVTT": lambda: [one.plaintext for one in pysubs2.SSAFile.from_string(written("vtt"), "vtt")],
    "pysrt SRT": lambda: [one.text.strip() for one in pysrt.from_string(written("srt"))],
    "srt SRT": lambda: [one.content for one in srt.parse(written("srt"))],
    "webvtt-py WebVTT": lambda: [one.text for one in webvtt.from_string(written("vtt"))],
}
found = {name: read() for name, read in readers.items()}
for name, texts in found.items():
    print(name, version(name.split()[0]), texts)
assert found.pop("pysubs2 SRT") == [*CUES[:2], "Call me at"]
assert found.pop("pysubs2 WebVTT") == ["The code is", "We met in", "Call me at"]
assert all(texts == CUES for texts in found.values())
print("as found: pysubs2 removes the numbers 4711, 1999 and 5550123 from WebVTT, and the last one from SRT")
END
venv/bin/python look.py
