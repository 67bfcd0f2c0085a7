#!/bin/sh
# The normalizer of Whisper's word error rates forgets signs, decimals and millimetres.
#
# Guess: a normalizer brings text into a normal form: applied again it changes nothing, and what it drops has no
#   meaning.
# What happens: applied twice, "minus five degrees" is "-5 degrees" and then "5 degrees", "version 2.0.1" is
#   "version 2.0 one" and then "version 21", "double oh seven" is "007" and then "7". Applied once, "mm" is dropped as
#   a hesitation, also where it is a unit: "a lesion of 5 mm" becomes "a lesion of 5", while "5 cm" stays. "One and a
#   half hours" becomes "one.5 hours", which equals nothing that anybody writes.
# Why it matters: published word error rates are made with it. References stored in normalized form and
#   normalized again while scoring make "minus five" and "five" equal, and a transcript that loses the unit of a
#   medical measurement scores 0 errors.
#
# Found with whisper-normalizer 0.1.15 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq whisper-normalizer==0.1.15
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

from whisper_normalizer.english import EnglishTextNormalizer

normalize = EnglishTextNormalizer()
EXPECTED = {  # said: (normalized, normalized twice)
    "It is five degrees": ("it is 5 degrees", "it is 5 degrees"),
    "It is minus five degrees": ("it is -5 degrees", "it is 5 degrees"),
    "version 2.0.1": ("version 2.0 one", "version 21"),
    "double oh seven": ("007", "7"),
    "a lesion of 5 cm": ("a lesion of 5 cm", "a lesion of 5 cm"),
    "a lesion of 5 mm": ("a lesion of 5", "a lesion of 5"),
    "one and a half hours": ("one.5 hours", None),
}
print("whisper-normalizer", version("whisper-normalizer"))
for said, (once, twice) in EXPECTED.items():
    found = normalize(said), normalize(normalize(said))
    print(f"{said!r}: {found[0]!r}, again: {found[1]!r}")
    assert found[0] == once and (twice is None or found[1] == twice), found
print("as found: normalized twice, five degrees below zero equal five above, and 5 mm equals 5")
END
