#!/bin/sh
# In an AVI file, five seconds of telephone sound carry the time stamps of 83 minutes.
#
# Guess: FFmpeg reads back the time stamps of an AVI that FFmpeg wrote. Packet n begins where packet n-1 ended.
# What happens: for G.726, G.722 and AMR-NB the AVI reader counts each packet as many times as its block has bytes: the
#   packets of 5 s of G.726 begin at 0, 262, 524 ... and 4,980 s, those of G.722 end at 803 s, of AMR-NB at 80 s. Each
#   packet's own duration and the stated length of the file are right, and so is the number of decoded samples.
#   G.723.1, MP3 and mu-law in AVI are right.
# Why it matters: video recorders of cameras store just these codecs in AVI. A transcript whose times follow the time
#   stamps is useless, and a service that fills gaps in the time stamps with silence turns 5 s into 83 minutes
#   and bills them.
#
# Found with av 18.1.0 (FFmpeg 8.1.2) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'END'
import av
import numpy as np

SECONDS = 5
CODECS = {  # name: (sample rate, bits per second, where the last packet may begin)
    "pcm_mulaw": (8000, None, (0, 5)),
    "libmp3lame": (8000, None, (4.9, 5.2)),
    "g723_1": (8000, 6300, (4.9, 5.1)),
    "libopencore_amrnb": (8000, 12200, (75, 85)),
    "g722": (16000, None, (790, 810)),
    "g726": (8000, 32000, (4900, 5100)),
}


def write(codec, rate, bits):
    t = np.arange(SECONDS * rate) / rate
    samples = (0.3 * np.sin(2 * np.pi * 300 * t) * 32767).astype(np.int16)
    with av.open("camera.avi", "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"
        if bits:
            stream.bit_rate = bits
        stream.format = stream.codec_context.codec.audio_formats[0].name
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        converter = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        for piece in [*converter.resample(frame), *converter.resample(None), None]:
            for packet in stream.encode(piece):
                out.mux(packet)


print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
for codec, (rate, bits, (least, most)) in CODECS.items():
    write(codec, rate, bits)
    with av.open("camera.avi") as container:
        stream = container.streams.audio[0]
        starts = [float(packet.pts * stream.time_base) for packet in container.demux(stream) if packet.size]
        stated = float(stream.duration * stream.time_base)
    with av.open("camera.avi") as container:
        decoded = sum(frame.samples for frame in container.decode(audio=0)) / rate
    print(f"{codec}: stated {stated:.2f} s, decoded {decoded:.2f} s, last packet begins at {starts[-1]:.2f} s")
    assert abs(stated - SECONDS) < 0.3 and abs(decoded - SECONDS) < 0.3, (stated, decoded)
    assert least <= starts[-1] <= most, starts[-1]
print("as found: the last packet of 5 s of G.726 begins after 83 minutes")
END
