#!/bin/sh
# Resampling in blocks loses the end of every stream, and nothing brings it back.
#
# Guess: python-samplerate's `Resampler.process(..., end_of_input=True)` gives what the filter still holds, so that
#   blocks add up to the same sound as one call.
# What happens: room for the answer is the block's own length times the ratio. What the filter holds is more than that
#   at the end. The rest is dropped, and later calls with an empty block give nothing. With `sinc_best` from 8 to
#   16 kHz in blocks of 20 ms, 288 samples (18 ms) are missing. One call over everything loses nothing, so that a test
#   on a short clip passes. soxr's stream, given the same blocks, returns every sample.
# Why it matters: live recognition resamples a telephone's blocks. The end of each utterance is cut, most easily a
#   final "t" or "s". Zeros of the filter's length behind the last block repair it.
#
# Found with samplerate 0.2.4 and soxr 1.1.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq numpy==2.4.6 samplerate==0.2.4 soxr==1.1.0
cd "$work"
venv/bin/python - <<'END'
from importlib.metadata import version

import numpy as np
import samplerate
import soxr

BLOCK = 160
sound = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
blocks = [(sound[at : at + BLOCK], at + BLOCK >= len(sound)) for at in range(0, len(sound), BLOCK)]

print("samplerate", version("samplerate"), "soxr", version("soxr"))
missing = {}
for quality in ("sinc_best", "sinc_medium", "sinc_fastest"):
    whole = samplerate.resample(sound, 2.0, quality)
    one_call = samplerate.Resampler(quality, 1).process(sound, 2.0, end_of_input=True)
    resampler = samplerate.Resampler(quality, 1)
    streamed = np.concatenate([resampler.process(block, 2.0, end_of_input=is_last) for block, is_last in blocks])
    later = [len(resampler.process(np.zeros(0, np.float32), 2.0, end_of_input=True)) for _ in range(3)]
    missing[quality] = len(whole) - len(streamed)
    print(f"{quality}: at once {len(whole)}, one call {len(one_call)}, in blocks {len(streamed)}, asked again {later}")
    assert len(whole) == len(one_call) == 16000, (len(whole), len(one_call))
    assert np.array_equal(whole[: len(streamed)], streamed), "what comes out is right"
    assert later == [0, 0, 0], later
stream = soxr.ResampleStream(8000, 16000, 1, dtype="float32")
by_soxr = sum(len(stream.resample_chunk(block, last=is_last)) for block, is_last in blocks)
print("soxr in blocks:", by_soxr)

assert missing["sinc_best"] == 288 and missing["sinc_fastest"] > 0, missing
assert by_soxr == 16000, by_soxr
print("as found: the last", missing["sinc_best"], "of 16000 samples never come out")
END
