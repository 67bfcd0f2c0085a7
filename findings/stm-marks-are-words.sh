#!/bin/sh
# MeetEval scores the marks of an STM file as words that were spoken, and a time to ignore as a speaker.
#
# Guess: an STM file of NIST's sclite (TED-LIUM ships such) is read as sclite reads it. The label before the words,
#   `<o,f0,male>`, is no word, and in a segment `ignore_time_segment_in_scoring` nothing is scored.
# What happens: the label and `ignore_time_segment_in_scoring` are words of the reference, `inter_segment_gap` is a
#   speaker. A transcript with every word right has a cpWER and a tcpWER of 4 errors in 15 words, 26.7 %, with one
#   speaker missed. Words heard in the time to ignore are insertions or substitutions as well. There is no warning.
#   Of the alternatives in `i've { um / uh / @ } as far` all seven signs are words. Comments (`;;`) are skipped.
# Why it matters: each label is a deleted word. On short turns, which are most turns of a conversation, the error rate
#   measures the format. It is the same for every engine, so a comparison does not show it.
#
# Found with meeteval 0.4.3 in 2026-11. The format: sclite's infmts.htm in NIST's SCTK.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq meeteval==0.4.3
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

import meeteval

REFERENCE = """;; LABEL "o" "Overall" "all segments"
talk 1 inter_segment_gap 0.00 10.00 <o,,unknown> ignore_time_segment_in_scoring
talk 1 Ann 10.00 12.00 <o,f0,female> we begin with the first part of this long talk
talk 1 Bob 12.00 14.00 <o,f0,male> yes
"""
PLAIN = """talk 1 Ann 10.00 12.00 we begin with the first part of this long talk
talk 1 Bob 12.00 14.00 yes
"""
PERFECT = """talk 1 x 10.00 12.00 we begin with the first part of this long talk
talk 1 y 12.00 14.00 yes
"""
ALTERNATIVES = "talk 1 Ann 0.00 2.00 i've { um / uh / @ } as far as i'm concerned\n"
FLUENT = "talk 1 x 0.00 2.00 i've as far as i'm concerned\n"
MUSIC = "talk 1 z 2.00 8.00 la la la la la\n"


def scores(reference, hypothesis):
    read = [meeteval.io.STM.parse(text) for text in (reference, hypothesis)]
    cp = meeteval.wer.cpwer(*read)["talk"]
    tcp = meeteval.wer.tcpwer(*read, collar=5)["talk"]
    found = {"errors": (cp.errors, tcp.errors), "words": cp.length, "missed speakers": cp.missed_speaker}
    return found


print("meeteval", version("meeteval"))
print([(line.speaker_id, line.transcript) for line in meeteval.io.STM.parse(REFERENCE).lines])
perfect, music, plain = scores(REFERENCE, PERFECT), scores(REFERENCE, PERFECT + MUSIC), scores(PLAIN, PERFECT)
alternatives = scores(ALTERNATIVES, FLUENT)
print("one of the alternatives, silence, was said:", alternatives)
print("every word right:", perfect)
print("and five words in the time to ignore:", music)
print("every word right, reference without marks:", plain)

assert plain == {"errors": (0, 0), "words": 11, "missed speakers": 0}, plain
assert alternatives == {"errors": (7, 7), "words": 13, "missed speakers": 0}, alternatives
assert perfect == {"errors": (4, 4), "words": 15, "missed speakers": 1}, perfect
assert music == {"errors": (7, 7), "words": 15, "missed speakers": 0}, music
print("as found: a perfect transcript has 4 errors in 15 words, which are the marks of the format")
END
