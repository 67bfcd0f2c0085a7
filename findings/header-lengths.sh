#!/bin/sh
# Two telephone formats state lengths of minutes and of millions of years for five seconds of sound.
#
# Guess: AIFF-C and W64 state their length in the header, exactly. A file that holds less than it states was cut off.
# What happens:
#   * AIFF-C with GSM 6.10: soundfile states the number of samples. FFmpeg takes the same field for a number of GSM
#     blocks of 160 samples, so that 5 s become 800 s. (With IMA ADPCM, the other codec with blocks, both agree.)
#   * W64 with Microsoft ADPCM: soundfile leaves a number near 2^63 in the `fact` chunk. FFmpeg believes it: the
#     stream lasts 1.15e15 s. PyAV states no duration for the container then. soundfile itself ignores the chunk.
#   Both files are whole, and all readers decode 5.0 s from them.
# Why it matters: comparing the stated length with the decoded one is how a service finds cut-off uploads. It refuses
#   these two as cut off, or quotes a price for 13 minutes.
#
# Found with soundfile 0.14.0 and av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6 soundfile==0.14.0
cd "$work"
venv/bin/python - <<'END'
import av
import numpy as np
import soundfile

RATE = 8000
sound = np.random.default_rng(0).normal(0, 0.1, RATE * 5)
print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
found = {}
for form, codec in (("AIFF", "IMA_ADPCM"), ("AIFF", "GSM610"), ("W64", "GSM610"), ("W64", "MS_ADPCM")):
    soundfile.write("call", sound, RATE, format=form, subtype=codec)
    with av.open("call") as container:
        stream = container.streams.audio[0]
        stated = float(stream.duration * stream.time_base)
        decoded = sum(frame.samples for frame in container.decode(stream)) / RATE
        whole = container.duration and container.duration / 1e6
    found[form, codec] = soundfile.info("call").duration, stated, whole, decoded
    print(f"{form} {codec}: soundfile states {found[form, codec][0]} s; PyAV states {stated:.6g} s for the stream, "
          f"{whole} s for the file, decodes {decoded} s")

assert found["AIFF", "IMA_ADPCM"] == found["W64", "GSM610"] == (5.0, 5.0, 5.0, 5.0), found
assert found["AIFF", "GSM610"] == (5.0, 800.0, 800.0, 5.0), found
assert found["W64", "MS_ADPCM"][0] == found["W64", "MS_ADPCM"][3] == 5.0, found
assert found["W64", "MS_ADPCM"][1] > 1e15 and found["W64", "MS_ADPCM"][2] is None, found
print("as found: 5 s are stated as 800 s (AIFF-C, GSM) and as 1.15e15 s (W64, MS ADPCM)")
END
