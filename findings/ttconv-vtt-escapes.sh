#!/bin/sh
# Words disappear when a WebVTT file passes through a converter twice.
#
# Guess: ttconv, a converter of the broadcasting industry, reads `&lt;` and writes it back as `&lt;`. Reading its own
#   output changes nothing more.
# What happens: it decodes `&lt;`, `&gt;` and `&amp;` while reading and writes WebVTT without encoding them. After one
#   pass "if x &lt; 5 and y &gt; 2 then stop" is "if x < 5 and y > 2 then stop", in which a reader that follows the
#   standard sees a tag from "<" to ">". The second pass, and webvtt-py after the first, have "if x 2 then stop":
#   the words between are gone without an error. The speakers' names (voice tags) are lost in the first pass.
#   SRT to WebVTT is the same, since SRT has no escapes at all.
# Why it matters: dictated code, mathematics and "R&D" are usual in transcripts, and subtitles pass through several
#   tools between a service and a broadcaster. What was exported correctly arrives with holes.
#
# Found with ttconv 1.2.3, webvtt-py 0.6.0 and pycaption 2.3.14 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pycaption==2.3.14 ttconv==1.2.3 webvtt-py==0.6.0
cd "$work"
venv/bin/python - <<'END'
import io
import logging
from importlib.metadata import version

import pycaption
import ttconv.srt.reader
import ttconv.vtt.reader
import ttconv.vtt.writer
import webvtt

logging.disable(logging.CRITICAL)  # ttconv warns of the tags that it made itself

WORDS = "if x < 5 and y > 2 then stop"
VTT = f"WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<v Ann>{WORDS.replace('<', '&lt;').replace('>', '&gt;')}\n"
SRT = f"1\n00:00:01,000 --> 00:00:02,000\n{WORDS}\n"


def once(text, reader=ttconv.vtt.reader):
    return ttconv.vtt.writer.from_model(reader.to_model(io.StringIO(text)))


def by_webvtt(text):
    return webvtt.from_string(text)[0].text


def by_pycaption(text):
    return pycaption.WebVTTReader().read(text).get_captions("en-US")[0].get_text()


print(", ".join(f"{name} {version(name)}" for name in ("ttconv", "webvtt-py", "pycaption")))
first, second, from_srt = once(VTT), once(once(VTT)), once(SRT, ttconv.srt.reader)
print("before:               ", repr(VTT.splitlines()[3]), "read by pycaption as", repr(by_pycaption(VTT)))
print("after one pass:       ", repr(first.splitlines()[4]), "read by webvtt-py as", repr(by_webvtt(first)))
print("after the second pass:", repr([line for line in second.splitlines() if "stop" in line][0]))
print("from SRT:             ", repr(from_srt.splitlines()[4]), "read by webvtt-py as", repr(by_webvtt(from_srt)))

assert by_pycaption(VTT) == f"Ann: {WORDS}", by_pycaption(VTT)
assert WORDS in first and "Ann" not in first and "&lt;" not in first, first
assert WORDS in from_srt, from_srt
assert "5 and y" not in second and "then stop" in second, second
assert " ".join(by_webvtt(first).split()) == "if x 2 then stop", by_webvtt(first)
print("as found: '< 5 and y >' is gone after the second reading")
END
