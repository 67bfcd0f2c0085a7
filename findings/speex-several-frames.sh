#!/bin/sh
# Speex with several frames in a packet: a container that states half the length, and a last packet that is an error.
#
# Guess: telephony packs three Speex frames (60 ms) into a packet. FFmpeg offers this as `frames_per_packet`, so
#   a recording of 10 s that FFmpeg writes to Ogg or FLV states 10 s, starts at 0, and decodes to 10 s.
# What happens: with 3 frames in a packet Ogg states 5.25 s and FLV 3.37 s, with 8 frames 7.21 and 1.38 s. In Ogg the
#   first sound has the time -1.88 s or -5.88 s. All samples are there: decoding gives 9.96 and 9.92 s, without the
#   last, shorter packet, which PyAV 17 refuses with InvalidDataError: the usual loop over `container.decode()` raises
#   after the last whole packet. PyAV 18 reads that packet, but its wheel cannot write Speex any more. Files of Xiph's
#   own speexenc 1.2 state their true length, with any number of frames in a packet (seen by hand).
# Why it matters: a service that bills by the stated length bills half, and one that cuts at time 0 loses what comes
#   before; one that calls a decoding error a broken file refuses a good recording.
#
# Found with av 17.0.0 (FFmpeg 8.0.1) in 2026-12, and with av 18.1.0 (FFmpeg 8.1.2) beside it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 17.0.0 18.1.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -qq av==$version numpy==2.4.6
done
cd "$work"
17.0.0/bin/python - <<'END'
import av
import numpy as np

RATE, SECONDS = 8000, 10

times = np.arange(RATE * SECONDS) / RATE
samples = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
for extension in ("ogg", "flv"):
    for count in (1, 3, 8):
        with av.open(f"{count}.{extension}", "w") as out:
            stream = out.add_stream("libspeex", rate=16000 if extension == "flv" else RATE, layout="mono")
            stream.options = {"frames_per_packet": str(count)}
            sound = np.repeat(samples, 2) if extension == "flv" else samples  # FLV takes Speex at 16 kHz alone
            frame = av.AudioFrame.from_ndarray(sound[None, :], format="s16", layout="mono")
            frame.sample_rate = stream.rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
END
cat >read.py <<'END'
import av

found = {}
for extension in ("ogg", "flv"):
    for count in (1, 3, 8):
        with av.open(f"{count}.{extension}") as container:
            stream = container.streams.audio[0]
            times, seconds, error = [], 0.0, None
            try:
                for frame in container.decode(stream):
                    times.append(frame.time)
                    seconds += frame.samples / frame.sample_rate
            except av.FFmpegError as raised:
                error = type(raised).__name__
            stated = None if container.duration is None else round(container.duration / av.time_base, 2)
            found[f"{count}.{extension}"] = (stated, round(times[0], 2), round(seconds, 2), error)
print("av", av.__version__, "FFmpeg", av.ffmpeg_version_info, "writes Speex:", "libspeex" in av.codecs_available)
for name, values in found.items():
    print(f"  {name}: stated, first time, decoded, error: {values}")
END
17.0.0/bin/python read.py >seen.txt
18.1.0/bin/python read.py >>seen.txt
cat seen.txt
cat >expected.txt <<'END'
av 17.0.0 FFmpeg 8.0.1 writes Speex: True
  1.ogg: stated, first time, decoded, error: (10.0, 0.0, 10.0, None)
  3.ogg: stated, first time, decoded, error: (5.25, -1.88, 9.96, 'InvalidDataError')
  8.ogg: stated, first time, decoded, error: (7.21, -5.88, 9.92, 'InvalidDataError')
  1.flv: stated, first time, decoded, error: (10.0, 0.0, 10.0, None)
  3.flv: stated, first time, decoded, error: (3.37, 0.0, 9.96, 'InvalidDataError')
  8.flv: stated, first time, decoded, error: (1.38, 0.0, 9.92, 'InvalidDataError')
av 18.1.0 FFmpeg 8.1.2 writes Speex: False
  1.ogg: stated, first time, decoded, error: (10.0, 0.0, 10.0, None)
  3.ogg: stated, first time, decoded, error: (5.25, -1.88, 10.0, None)
  8.ogg: stated, first time, decoded, error: (7.21, -5.88, 10.0, None)
  1.flv: stated, first time, decoded, error: (10.0, 0.0, 10.0, None)
  3.flv: stated, first time, decoded, error: (3.37, 0.0, 10.0, None)
  8.flv: stated, first time, decoded, error: (1.38, 0.0, 10.0, None)
END
diff expected.txt seen.txt
echo "as found: Ogg states 5.25 s of 10 and FLV 3.37 s, and the last packet is an error in PyAV 17"
