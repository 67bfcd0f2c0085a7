#!/bin/sh
# Deepgram's own caption packages write the first channel of a two-channel call, and nothing of the second.
#
# Guess: an answer of Deepgram with `multichannel=true` has one transcript for each channel. Deepgram's packages that
#   make subtitles of such an answer write both persons in the order of time, or refuse it. Their header even says
#   "Channels: 2".
# What happens: both packages take the words of channel 0 alone. The second person is missing from WebVTT and SRT, without
#   a warning. A caller whose own side is silent gets an error or an empty file, although the other side spoke. Only with
#   `utterances=true` are both there; then neither package says which channel speaks.
# Why it matters: telephone calls are recorded in two channels. Whoever makes captions of them by the vendor's package
#   loses half of each call, also from other services that answer in Deepgram's shape.
#
# Found with deepgram-captions 2.0.0 (PyPI) and @deepgram/captions 1.2.0 (npm) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check deepgram-captions==2.0.0
npm install --silent --no-audit --no-fund @deepgram/captions@1.2.0
cat > answer.py <<'PY'
import json
import sys


def words(text, start):
    return [
        {"word": word, "punctuated_word": word, "start": start + n, "end": start + n + 0.5, "confidence": 0.9}
        for n, word in enumerate(text.split())
    ]


def channel(found):
    return {"alternatives": [{"transcript": " ".join(w["word"] for w in found), "confidence": 0.9, "words": found}]}


agent, caller = words("how can I help", 0.0), words("my order is late", 4.5)
if sys.argv[1] == "silent":
    agent = []
answer = {
    "metadata": {"request_id": "r", "created": "2026-11-30T08:00:00Z", "duration": 9.0, "channels": 2},
    "results": {"channels": [channel(agent), channel(caller)]},
}
if sys.argv[1] == "utterances":
    answer["results"]["utterances"] = [
        {"start": said[0]["start"], "end": said[-1]["end"], "channel": number, "transcript": "x", "words": said}
        for number, said in enumerate((agent, caller))
    ]
print(json.dumps(answer))
PY
cat > look.py <<'PY'
import json
import sys

from deepgram_captions import DeepgramConverter, srt, webvtt

try:
    converter = DeepgramConverter(json.load(sys.stdin))
    print(json.dumps([webvtt(converter), srt(converter)]))
except Exception as error:
    print(json.dumps(type(error).__name__))
PY
cat > look.cjs <<'JS'
const { webvtt, srt } = require('@deepgram/captions');
const answer = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
try {
  console.log(JSON.stringify([webvtt(answer), srt(answer)]));
} catch (error) {
  console.log(JSON.stringify(error.constructor.name));
}
JS
for kind in plain utterances silent; do
    python3 answer.py $kind > answer.json
    venv/bin/python look.py < answer.json > "python-$kind.json"
    node look.cjs < answer.json > "node-$kind.json"
done
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -i deepgram
npm ls --depth=0 | grep deepgram
python3 - <<'PY'
import json


def found(name):
    return json.load(open(f"{name}.json"))


for package in ("python", "node"):
    for text in found(f"{package}-plain"):
        print(f"{package}: {text!r}")
        assert "how can I help" in text
        assert "my order is late" not in text
    assert "Channels: 2" in found(f"{package}-plain")[0]
    for text in found(f"{package}-utterances"):
        assert "how can I help" in text
        assert "my order is late" in text
        assert "peaker" not in text
    silent = found(f"{package}-silent")
    print(f"{package}, first channel silent: {silent!r}")
    assert isinstance(silent, str)
print("as found: captions of two channels have the words of the first one alone, in both packages")
PY
