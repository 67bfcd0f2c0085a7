#!/bin/sh
# A pause in the edit list of an MP4 is read as a repetition of the beginning.
#
# Guess: an "empty edit" (media time -1) is a pause wherever it stands, as ISO/IEC 14496-12 says (section 8.6.6), so
#   2 s of sound, a pause of 3 s and the next 2 s come back as that.
# What happens: FFmpeg knows an empty edit only at the beginning of the list. Behind it, it takes -1 for a place in the
#   sound: the pause is filled with the first 3 s of the recording, at the time of the pause, with right time stamps and
#   without a warning. At the beginning of the list, it is a pause.
# Why it matters: editors insert silence and move pieces apart in that way, without encoding anything again. A transcript
#   then has sentences twice, the second time where nobody spoke.
#
# Found with av 18.1.0 and numpy 2.2.6 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.2.6
cat > look.py <<'END'
import struct

import av
import numpy as np

RATE = 44_100


def boxes(content):
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + size]
        at += size


def box(name, content):
    return (len(content) + 8).to_bytes(4, "big") + name + content


def write(path):
    """Write 10 s, the second number n with the level (n + 1) / 11."""
    levels = np.repeat((np.arange(10) + 1) / 11, RATE)
    sound = (levels * np.sin(2 * np.pi * 440 * np.arange(10 * RATE) / RATE) * 32_767).astype(np.int16)
    with av.open(path, "w", format="mov") as out:
        stream = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for at in range(0, len(sound), 1_000):
            frame = av.AudioFrame.from_ndarray(sound[None, at : at + 1_000], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, at
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def edited(source, target, pieces):
    """Replace the edit list. pieces: (seconds, place in the sound or None for a pause)."""
    parts = list(boxes(open(source, "rb").read()))
    moov = dict(parts)[b"moov"]
    movie_rate = int.from_bytes(moov[moov.index(b"mvhd") + 16 :][:4], "big")
    entries = [
        struct.pack(">iiI", round(seconds * movie_rate), -1 if at is None else round(at * RATE), 1 << 16)
        for seconds, at in pieces
    ]
    edits = box(b"edts", box(b"elst", struct.pack(">II", 0, len(entries)) + b"".join(entries)))
    track = [box(*one) for one in boxes(dict(boxes(moov))[b"trak"]) if one[0] != b"edts"]
    track.insert(1, edits)
    moov = b"".join(box(name, b"".join(track) if name == b"trak" else body) for name, body in boxes(moov))
    assert parts[-1][0] == b"moov"
    open(target, "wb").write(b"".join(box(name, moov if name == b"moov" else body) for name, body in parts))


def heard(path):
    """Return for each second which second of the recording is heard in it, None for silence."""
    with av.open(path) as container:
        stream = container.streams.audio[0]
        line = np.zeros(12 * RATE)
        for frame in container.decode(stream):
            at = round(float(frame.pts * frame.time_base) * RATE)
            samples = frame.to_ndarray()[0] / 32_767
            line[at : at + len(samples)] = samples
    peaks = [np.abs(line[at * RATE + RATE // 3 : at * RATE + 2 * RATE // 3]).max() for at in range(7)]
    return [round(peak * 11) - 1 if peak > 0.01 else None for peak in peaks]


write("whole.mov")
edited("whole.mov", "middle.mov", [(2, 0), (3, None), (2, 2)])
edited("whole.mov", "begin.mov", [(3, None), (4, 0)])
middle, begin = heard("middle.mov"), heard("begin.mov")
print("av", av.__version__, "libavformat", ".".join(map(str, av.library_versions["libavformat"])))
print("sound 0-2, pause of 3 s, sound 2-4:", middle)
print("pause of 3 s, sound 0-4:", begin)
assert begin == [None, None, None, 0, 1, 2, 3]
assert middle == [0, 1, 0, 1, 2, 2, 3]
print("as found: the pause is filled with the first three seconds")
END
venv/bin/python look.py
