"""`python -m transcription.speech.probe PATH --max-duration-ms N`: print one line of JSON and exit 0.

The line is an `AudioProbe`, or {"error": {"type", "message", "data"}}. The process gives up its own means before it
touches the file: a decoder that a crafted file takes over finds no memory, no disk, no new process.
Its output must be a pipe, since it may not write to files.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys

from transcription.speech import audio, errors

MAX_OPEN_FILES = 32


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("path")
    arguments.add_argument("--max-duration-ms", type=int, required=True)
    given = arguments.parse_args()
    import av  # noqa: F401 - before the limits: loading it needs more files and memory than using it

    _limit_this_process()
    try:
        line = audio.to_json(audio.probe(given.path, max_duration_ms=given.max_duration_ms))
    except errors.SpeechError as error:
        line = json.dumps({"error": error.to_dict()})
    sys.stdout.write(line + "\n")


def _limit_this_process() -> None:
    """Bound memory, CPU time, open files, new processes and written bytes for good."""
    for limit, most in (
        (resource.RLIMIT_AS, audio.PROBE_MEMORY_BYTES),
        (resource.RLIMIT_CPU, audio.PROBE_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))


if __name__ == "__main__":
    main()
