#!/bin/sh
# One line break in a transcript costs two word errors.
#
# Guess: jiwer splits into words at white space, as `str.split()` does. A line break instead of a blank changes nothing.
# What happens: its default transform removes runs of two and more white space characters, and then splits at the
#   blank alone. A single line break, tab or no-break space stays inside a "word": "starts\nat" is one word
#   that nobody said. Five words with one line break have a word error rate of 0.4. Two line breaks in a row, or
#   "\r\n", are a run and do no harm: a file with Windows line ends scores better than the same file with Unix ones.
# Why it matters: a transcript with one line per turn, a subtitle's two lines, and French with a no-break space before
#   "?" look worse than they are. An engine that writes long lines wins a comparison against the same words.
#
# Found with jiwer 4.0.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq jiwer==4.0.0
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

import jiwer

SAID = "the meeting starts at ten"
HEARD = {
    "blank": "the meeting starts at ten",
    "two blanks": "the meeting starts  at ten",
    "line feed": "the meeting starts\nat ten",
    "two line feeds": "the meeting starts\n\nat ten",
    "carriage return, line feed": "the meeting starts\r\nat ten",
    "tab": "the meeting starts\tat ten",
    "no-break space": "the meeting starts\u00a0at ten",
    "narrow no-break space": "the meeting starts\u202fat ten",
}
print("jiwer", version("jiwer"))
found = {}
for name, text in HEARD.items():
    assert text.split() == SAID.split()
    found[name] = jiwer.wer(SAID, text)
    print(f"{name}: {found[name]}")

one = ("line feed", "tab", "no-break space", "narrow no-break space")
assert all(found[name] == 0.4 for name in one), found
assert all(value == 0 for name, value in found.items() if name not in one), found
print("as found: a single line feed, tab or no-break space makes two of five words wrong")
END
