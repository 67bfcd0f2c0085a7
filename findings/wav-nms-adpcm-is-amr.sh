#!/bin/sh
# A voicemail WAV in NMS ADPCM is decoded as if it were AMR, and becomes four times as long.
#
# Guess: a WAV whose codec FFmpeg does not know is refused with "unknown codec", as other unknown codecs are.
# What happens: the WAV format tag 0x38 is NMS VBXADPCM, the format of many voicemail systems, and soundfile writes and
#   reads it. FFmpeg has another owner for the tag in its table: AMR-NB. PyAV opens 10 s of NMS ADPCM as `amrnb`,
#   states the right length from the header, and a loop that skips bad packets gets 44.56 s of loud noise.
# Why it matters: a service that skips bad packets (as one must for real recordings) transcribes and bills four
#   times the length, all of it noise. A refusal would cost nobody anything.
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
t = np.arange(RATE * 10) / RATE
voice = 0.1 * sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(4 * np.pi * t))
loudness = np.sqrt(np.mean(voice**2))

print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info)
print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
found = {}
for subtype in ("NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"):
    soundfile.write("voicemail.wav", voice, RATE, format="WAV", subtype=subtype)
    back, _ = soundfile.read("voicemail.wav")
    likeness = np.corrcoef(back[: len(voice)], voice)[0, 1]
    assert likeness > 0.9, likeness
    pieces, refused = [], 0
    with av.open("voicemail.wav") as container:
        stream = container.streams.audio[0]
        codec, stated = stream.codec_context.name, float(stream.duration * stream.time_base)
        for packet in container.demux(stream):
            try:
                pieces += [frame.to_ndarray().ravel().astype(float) for frame in packet.decode()]
            except av.FFmpegError:
                refused += 1
    sound = np.concatenate(pieces)
    found[subtype] = codec, stated, len(sound) / RATE
    gain = np.sqrt(np.mean(sound**2)) / loudness
    print(f"{subtype}: soundfile {len(back) / RATE} s, likeness {likeness:.3f}; PyAV opens it as {codec}, states "
          f"{stated} s, decodes {len(sound) / RATE} s, refuses {refused} packets, loudness {gain:.1f} x")

assert all(codec == "amrnb" and stated == 10.0 for codec, stated, _ in found.values()), found
assert all(seconds > 20 for _, _, seconds in found.values()), found
assert found["NMS_ADPCM_32"][2] > 40, found
print("as found: NMS ADPCM is taken for AMR, 10 s become", found["NMS_ADPCM_32"][2], "s of noise")
END
