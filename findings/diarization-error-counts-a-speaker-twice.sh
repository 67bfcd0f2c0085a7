#!/bin/sh
# pyannote.metrics counts a person twice where two of their own turns overlap; other tools count them once.
#
# Guess: in the diarization error rate a speaker speaks or does not speak. Turns of one speaker that overlap or repeat
#   each other are one stretch of speech, as in dscore, spyder and simpleder.
# What happens: DiarizationErrorRate of pyannote.metrics takes each turn for a person of its own. Ann from 0 to 10 s
#   and again from 5 to 12 s is 17 s of speech. A hypothesis with exactly these 12 s misses 5 s: 29.4 % instead of 0.
#   The other way round the 5 s are a false alarm: 41.7 %. Once the rest is wrong as well, the total is too large and
#   the rate wrong without a visible reason: 60 % instead of 50 %. `skip_overlap=True` drops the 5 s as overlapped speech.
#   The detection error and the Jaccard error of the same package are 0. `annotation.support()` repairs it.
# Why it matters: turns that are made of the words of a recogniser, or of two channels that both hear one person,
#   overlap by some tenths of a second all the time. The rate then measures how the turns were written.
#
# Found with pyannote.metrics 4.2.0, pyannote.core 6.1.0, spy-der 0.4.1, simpleder 0.0.8 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pyannote.metrics==4.2.0 pyannote.core==6.1.0 simpleder==0.0.8 spy-der==0.4.1
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

import simpleder
import spyder
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.detection import DetectionErrorRate
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

WHOLE = Timeline([Segment(0, 20)])


def annotation(turns):
    made = Annotation()
    for number, (speaker, start, end) in enumerate(turns):
        made[Segment(start, end), number] = speaker
    return made


def by_pyannote(metric):
    return lambda reference, found: metric()(annotation(reference), annotation(found), uem=WHOLE)


def merged(reference, found):
    return DiarizationErrorRate()(annotation(reference).support(), annotation(found).support(), uem=WHOLE)


TOOLS = {
    "pyannote": by_pyannote(DiarizationErrorRate),
    "pyannote after support()": merged,
    "spyder": lambda reference, found: spyder.DER(reference, found).der,
    "simpleder": simpleder.DER,
    "pyannote detection": by_pyannote(DetectionErrorRate),
    "pyannote Jaccard": by_pyannote(JaccardErrorRate),
}
one, two = [("Ann", 0, 12)], [("Ann", 0, 10), ("Ann", 5, 12)]
CASES = {
    "the reference repeats 5 s": (two, one),
    "the hypothesis repeats 5 s": (one, two),
    "both repeat 5 s": (two, two),
    "one of two speakers is missed": ([("Ann", 0, 10), ("Ann", 5, 10), ("Bob", 10, 20)], [("x", 0, 20)]),
}
for package in ("pyannote-metrics", "pyannote-core", "spy-der", "simpleder"):
    print(package, version(package))
rates = {}
for case, (reference, found) in CASES.items():
    rates[case] = {tool: round(float(measure(reference, found)), 3) for tool, measure in TOOLS.items()}
    print(f"{case}: {rates[case]}")

others = ("pyannote after support()", "spyder", "simpleder")
assert [rates[case]["pyannote"] for case in CASES] == [0.294, 0.417, 0.0, 0.6], rates
assert all([rates[case][tool] for case in CASES] == [0.0, 0.0, 0.0, 0.5] for tool in others), rates
assert all(rates[case]["pyannote detection"] == 0.0 for case in CASES), rates
assert rates["the reference repeats 5 s"]["pyannote Jaccard"] == 0.0, rates
print("as found: a perfect answer has an error rate of 29.4 %, because one speaker's turns overlap")
END
