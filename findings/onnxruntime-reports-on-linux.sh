#!/bin/sh
# Importing onnxruntime opens a database in the home folder, begins a thread, and reports to its maker.
#
# Guess: on Linux, onnxruntime reports nothing (its page on privacy said so for years: telemetry was for Windows), and an
# import opens no file for good. So a process that loads networks may fork its workers afterwards.
# What happens, from 1.29 on (1.28.0 does as guessed): the import writes a lasting number of the machine and an SQLite
# database below ~/.cache/Microsoft, keeps three descriptors of the database open, and begins a thread that sends what
# models, sizes and processors it sees. Forks share the database's descriptors, and have no such thread. The switch in
# Python, disable_telemetry_events(), comes too late: file, thread and first event are there after the import.
# ORT_DISABLE_TELEMETRY=1 in the environment before the import prevents all of it, also when set by os.environ.
# Why it matters: many packages bring onnxruntime along (faster-whisper, silero-vad, piper, rembg). A server whose privacy page
# says that nothing leaves the machine is wrong after an upgrade, and a read-only or shared home folder is written to.
#
# Found with onnxruntime 1.31.1 and 1.28.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 1.28.0 1.31.1; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -qq "onnxruntime==$version"
done
cat > "$work/look.py" <<'END'
import os, sys
if sys.argv[1:] == ["off"]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
if sys.argv[1:] == ["late"]:
    onnxruntime.disable_telemetry_events()
home = os.environ["HOME"]
files = sorted(os.path.relpath(os.path.join(at, name), home) for at, _, names in os.walk(home) for name in names)
links = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
held = sum(home in os.readlink(link) for link in links if os.path.islink(link))
threads = len(os.listdir("/proc/self/task"))
print(onnxruntime.__version__, sys.argv[1:], files, "descriptors held:", held, "threads:", threads)
db = ".cache/Microsoft/DeveloperTools/.onnxruntime/"
is_there = any(name == db + "onnxruntime.db" for name in files) and any(name == db + "deviceid" for name in files)
print("reports" if is_there and held == 3 and threads == 2 else "quiet" if not files and threads == 1 and not held else "other")
END
# It also keeps quiet where it takes its surroundings for those of automatic tests.
see() {
    home=$(mktemp -d "$work/home.XXXXXX")
    env -i PATH="$PATH" HOME="$home" OMP_NUM_THREADS=1 "$work/$1/bin/python" "$work/look.py" $2 | tee "$work/said"
    test "$(tail -n 1 "$work/said")" = "$3"
}
see 1.28.0 "" quiet
see 1.31.1 "" reports
see 1.31.1 late reports
see 1.31.1 off quiet
echo "as found: 1.31.1 reports from its import on, 1.28.0 does not, and only the environment prevents it"
