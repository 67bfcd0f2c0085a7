"""`python -m transcription.speech.probe PATH --max-duration-ms N`: print one line of JSON and exit 0.

The line is an `AudioProbe`, or {"error": {"type", "message", "data"}}. The process confines itself before it touches
the file. Its output must be a pipe, since it may not write to files.
"""

from __future__ import annotations

import argparse
import json
import sys

from transcription.speech import audio, confinement, errors


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("path")
    arguments.add_argument("--max-duration-ms", type=int, required=True)
    given = arguments.parse_args()
    confinement.load_libraries()

    confinement.confine(memory_bytes=audio.PROBE_MEMORY_BYTES, cpu_seconds=audio.PROBE_CPU_SECONDS)
    try:
        line = audio.to_json(audio.probe(given.path, max_duration_ms=given.max_duration_ms))
    except errors.SpeechError as error:
        line = json.dumps({"error": error.to_dict()})
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
