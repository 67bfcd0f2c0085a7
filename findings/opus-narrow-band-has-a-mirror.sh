#!/bin/sh
# Opus of narrow band is not silent above 4 kHz, and how loud it is there depends on the decoder.
#
# Guess: Opus that was encoded from 8 kHz has nothing above 4 kHz when it is decoded to 48 kHz, and FFmpeg's own decoder
#   and libopus give the same sound.
# What happens: the low band is mirrored above 4 kHz, since the decoder goes up to 48 kHz by a short filter. Of white
#   noise, 4.2 to 4.8 kHz are 14 to 16 dB below 1 to 3 kHz with FFmpeg's decoder, which PyAV and the ffmpeg program take,
#   and 22 to 24 dB below with libopus. Both are nearly silent above 5.2 kHz (49 dB and more below).
# Why it matters: who tells a telephone from a microphone by what is above 4 kHz takes such calls for wide band, and by
#   a threshold that was tuned on one decoder takes those of the other for something else.
#
# Found with av 18.1.0 (FFmpeg 8.1) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq numpy==2.4.6 av==18.1.0
cd "$work"
venv/bin/python - <<'END'
import io
from fractions import Fraction

import av
import numpy as np

RATE = 8_000


def encoded(bit_rate):
    """Return five seconds of white noise as Ogg Opus."""
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 5)
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = bit_rate
        samples = (np.clip(noise, -1, 1) * 32767).astype("<i2")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()


def decoded(content, *, decoder):
    """Return (samples, rate)."""
    with av.open(io.BytesIO(content)) as file:
        stream = file.streams.audio[0]
        context = av.CodecContext.create(decoder, "r")
        context.extradata = stream.codec_context.extradata
        parts = [frame.to_ndarray()[0] for packet in file.demux(stream) for frame in context.decode(packet)]
        return np.concatenate(parts).astype(np.float64), context.sample_rate


def level(samples, rate, low, high):
    """Return how many decibels a band is below that from 1 to 3 kHz."""
    part = samples[rate : rate * 4]
    power, hertz = np.abs(np.fft.rfft(part)) ** 2, np.fft.rfftfreq(len(part), 1 / rate)
    mean = [power[(hertz >= one) & (hertz < other)].mean() for one, other in ((low, high), (1_000, 3_000))]
    return round(float(10 * np.log10(mean[1] / mean[0])))


print("av", av.__version__)
found = {}
for bit_rate in (6_000, 12_000, 24_000):
    content = encoded(bit_rate)
    for decoder in ("opus", "libopus"):
        sound = decoded(content, decoder=decoder)
        found[bit_rate, decoder] = level(*sound, 4_200, 4_800), level(*sound, 5_200, 8_000)
        print(f"{bit_rate} bit/s by {decoder}: {found[bit_rate, decoder]} dB below, 4.2 to 4.8 and 5.2 to 8 kHz")
with av.open(io.BytesIO(encoded(6_000))) as file:
    assert file.streams.audio[0].codec_context.codec.name == "opus"
own, reference = ([found[rate, name][0] for rate in (6_000, 12_000, 24_000)] for name in ("opus", "libopus"))
assert own == [14, 16, 16], own
assert reference == [22, 24, 24], reference
assert all(above >= 49 for _, above in found.values()), found
print("as found: from 4.2 to 4.8 kHz", own, "dB below the speech band by FFmpeg's decoder,", reference, "by libopus")
END
