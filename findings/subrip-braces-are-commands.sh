#!/bin/sh
# What is said in braces is not shown where FFmpeg reads a SubRip subtitle, and a backslash may break the line.
#
# Guess: SubRip knows the tags <b>, <i>, <u> and <font>; all else is text.
# What happens (FFmpeg by PyAV): "{y:i} yes" loses its braces at once. "{laughs} hello" reaches the renderer (libass) with bare
#   braces, which are a command there, and is not shown. "\N" in "C:\New" breaks the line. The same text as WebVTT is escaped.
# Why it matters: mpv, VLC and converters read by FFmpeg. A transcript with code, paths or "{laughs}" loses words there, and
#   the file itself looks right.
#
# Found with av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0
cd "$work"
venv/bin/python - <<'END'
import re
from pathlib import Path

import av

TEXTS = ("{laughs} hello", "{y:i} yes", r"C:\New", "<i>no</i> tag", "plain (text)")


def read(name, content):
    """Return the dialogues as FFmpeg gives them to a renderer."""
    Path(name).write_text(content)
    with av.open(name) as container:
        found = [rect.ass.decode() for packet in container.demux() if packet.size for rect in packet.decode()]
    return [one.split(",", 8)[-1] for one in found]


def cues(separator):
    return "\n".join(
        f"00:00:0{at}{separator}000 --> 00:00:0{at}{separator}900\n{text}\n" for at, text in enumerate(TEXTS)
    )


print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
numbered = "".join(f"{at + 1}\n{cue}\n\n" for at, cue in enumerate(cues(",").split("\n\n")))
srt = read("made.srt", numbered)
vtt = read("made.vtt", "WEBVTT\n\n" + cues("."))
for text, one, other in zip(TEXTS, srt, vtt, strict=True):
    print(f"{text!r:18} SubRip {one!r:28} WebVTT {other!r}")
shown = [re.sub(r"\{.*?\}", "", one).strip() for one in srt]
assert shown[0] == "hello", shown[0]
assert srt[1].strip() == "yes", srt[1]
assert srt[2] == r"C:\New", srt[2]  # libass: a line that ends, and "ew"
assert srt[4] == "plain (text)", srt[4]
assert vtt[0] == r"\{{}laughs} hello", vtt[0]  # a brace, and an empty command
assert vtt[2] == "C:\\\N{WORD JOINER}New", vtt[2]
END
echo "as found: SubRip's braces are commands for FFmpeg, WebVTT's are text"
