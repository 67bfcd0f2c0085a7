#!/bin/sh
# pyannote.database loses whole turns of an STM file where a word begins with a quotation mark.
#
# Guess: `load_stm` reads the speakers of an STM file and skips the words, whatever they are. `load_rttm` keeps every
#   name of a speaker.
# What happens: both read with pandas' CSV rules. A word that begins with `"` opens a field which ends at the next such
#   mark, lines later: of four speakers two remain, without a warning, and the file's other columns look right.
#   A first line `;; a comment` shifts the columns: the file is read, with no turns at all.
#   In an RTTM file the speakers "None", "null" and "NA" all become the number nan and are one person, and the turns
#   of a file named "NA" or "null" are dropped.
# Why it matters: a reference that lost turns makes false alarms of everything that was said in them. Inch marks and
#   quoted speech are ordinary in transcripts. "None" is what Python writes for a speaker without a name.
#
# Found with pyannote.database 6.1.1, pandas 3.1.1 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pyannote.database==6.1.1 pandas==3.1.1
cd "$work"
venv/bin/python - <<'END'
import math
from importlib.metadata import version
from pathlib import Path

from pyannote.database.util import load_rttm, load_stm

FILES = {
    "plain.stm": ["talk 1 Ann 0 2 fine", "talk 1 Bob 2 4 then what", "talk 1 Cat 4 6 yes", "talk 1 Dan 6 8 fine"],
    "inches.stm": ["talk 1 Ann 0 2 it is 6 \" wide", "talk 1 Bob 2 4 then what", "talk 1 Cat 4 6 mine is 8 \" wide",
                   "talk 1 Dan 6 8 fine"],
    "quoted.stm": ["talk 1 Ann 0 2 she said \"no", "talk 1 Bob 2 4 then what", "talk 1 Cat 4 6 \"yes\" he said",
                   "talk 1 Dan 6 8 fine"],
    "comment.stm": [";; a comment", "talk 1 Ann 0 2 fine", "talk 1 Bob 2 4 then what"],
    "names.rttm": [f"SPEAKER talk 1 {start} 2 <NA> <NA> {name} <NA> <NA>"
                   for start, name in enumerate(["Ann", "None", "null", "NA", "n/a", "01"])],
    "files.rttm": [f"SPEAKER {name} 1 0 2 <NA> <NA> Ann <NA> <NA>" for name in ("talk", "NA", "null", "01")],
}


def turns(name):
    """Return {file: [speaker, ...]} as pyannote.database reads it."""
    Path(name).write_text("".join(f"{line}\n" for line in FILES[name]))
    read = load_stm(name) if name.endswith("stm") else load_rttm(name)
    return {uri: [label for _, _, label in one.itertracks(yield_label=True)] for uri, one in read.items()}


print(", ".join(f"{name} {version(name)}" for name in ("pyannote.database", "pandas")))
found = {name: turns(name) for name in FILES}
for name, value in found.items():
    print(f"{name}: {len(FILES[name])} lines, {value}")

assert found["plain.stm"] == {"talk": ["Ann", "Bob", "Cat", "Dan"]}, found
assert found["inches.stm"] == {"talk": ["Ann", "Dan"]}, found
assert found["quoted.stm"] == {"talk": ["Ann", "Dan"]}, found
assert found["comment.stm"] == {";;": [], "talk": []}, found
names = found["names.rttm"]["talk"]
assert [names[0], names[5]] == ["Ann", "01"] and all(math.isnan(name) for name in names[1:5]), found
assert list(found["files.rttm"]) == ["01", "talk"], found
print("as found: two of four speakers are lost after a quotation mark, and None, null, NA and n/a are one person")
END
