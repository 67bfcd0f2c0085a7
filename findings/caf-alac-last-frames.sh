#!/bin/sh
# The end of a lossless CAF recording is lost, or all of it.
#
# Guess: ALAC is lossless, so a CAF file with ALAC gives back every sample in every reader.
# What happens: libsndfile (soundfile) writes the last, shorter packet with its true length, and states in the packet
#   table how many frames that packet is short of 4096. FFmpeg (PyAV) takes this number of frames away a second
#   time: of a last packet of r frames (r from 2048 up) only 2r - 4096 remain. At 8 kHz up to a quarter of a second
#   is gone. Of an exact multiple of 4096 frames libsndfile states 4096 as missing: FFmpeg then states a length that is
#   4096 frames short and stops with an error before the last packet, half a second at 8 kHz. A file of one packet
#   cannot be opened. PyAV also loses the end of a file that PyAV itself wrote. soundfile reads its own files in full.
# Why it matters: the last word of a voice memo is cut although nothing is damaged and no reader says so. The
#   stream's stated duration agrees with the packets, so that adding up packets does not show it either.
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


def read_by_pyav(path):
    """Return (frames decoded, frames stated, name of the error that ended it or None)."""
    count = stated = 0
    try:
        with av.open(path) as container:
            stream = container.streams.audio[0]
            stated = stream.duration
            for frame in container.decode(stream):
                count += frame.samples
    except av.FFmpegError as error:
        return count, stated, type(error).__name__
    return count, stated, None


def write_by_pyav(path, samples):
    with av.open(path, "w") as out:
        stream = out.add_stream("alac", rate=RATE)
        stream.layout, stream.format = "mono", "s16p"
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16p", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)


print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
print("frames written -> soundfile reads, PyAV reads (decoded, stated, error)")
found = {}
for count in (4096, 5000, 6144, 8000, 8192, 40240):
    samples = (np.random.default_rng(count).normal(0, 0.1, count) * 32767).astype(np.int16)
    soundfile.write("memo.caf", samples, RATE, format="CAF", subtype="ALAC_16")
    back, _ = soundfile.read("memo.caf", dtype="int16")
    assert np.array_equal(back, samples), "soundfile reads its own file in full"
    found[count] = read_by_pyav("memo.caf")
    print(f"  {count} -> {len(back)}, {found[count]}")
samples = (np.random.default_rng(0).normal(0, 0.1, 40240) * 32767).astype(np.int16)
write_by_pyav("own.caf", samples)
own = read_by_pyav("own.caf")
print("written and read by PyAV: 40240 ->", own)

assert found == {
    4096: (0, 0, "InvalidDataError"),
    5000: (5000, 5000, None),
    6144: (4096, 6144, None),
    8000: (7808, 8000, None),
    8192: (4096, 4096, "InvalidDataError"),
    40240: (39520, 40240, None),
}, found
assert own == (39520, 40240, None), own
print("as found: of 6144 frames 2048 are lost, of 8192 frames 4096, and 4096 frames cannot be opened")
END
