"""`python -m transcription.speech.decode PATH --max-duration-ms N`: the recording as samples on standard output.

`windows` runs it and reads what it says. On the pipe: blocks of a length in bytes (4 bytes, little-endian) and as many
bytes of float32 samples; then a length of zero and one line of JSON, {} or {"error": {"type", "message", "data"}}.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from transcription.speech import audio, confinement, errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

MEMORY_BYTES = 1024 * 1024 * 1024
# Decoding runs at hundreds of times the speed of speech; a tenth of it is a decoder gone astray.
CPU_SECONDS_AT_LEAST = 60
REAL_TIME_PER_CPU_SECOND = 10
# A child that says nothing for so long hangs.
STALL_SECONDS = 60.0
HEADER = struct.Struct("<I")
# What PyAV and NumPy need beside the samples; the rest of our environment holds secrets.
ENVIRONMENT = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}


def windows(
    path: Path | str,
    *,
    max_duration_ms: int,
    window_ms: int = audio.WINDOW_MS,
    channel: int | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> Iterator[Samples]:
    """Yield what `audio.windows` yields, decoded in a child process that can harm nobody.

    Raises the same errors; a child that crashes, stalls or exceeds its limits means NotAudio.
    The child ends with the iterator.
    """
    import numpy as np

    command = [sys.executable, "-E", "-s", "-m", "transcription.speech.decode", "--max-duration-ms"]
    command += [str(max_duration_ms), "--window-ms", str(window_ms)]
    command += [] if channel is None else ["--channel", str(channel)]
    command += ["--", str(Path(path).resolve())]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(  # noqa: S603 - our own module, an absolute path behind "--"
            command,
            cwd=Path(__file__).resolve().parents[2],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            bufsize=0,
        )
        assert child.stdout is not None, "a pipe was asked for"
        try:
            while block := _read_block(child.stdout, stall_seconds=stall_seconds):
                yield np.frombuffer(block, dtype=np.float32).copy()
            answer = json.loads(child.stdout.read())
        except (EOFError, ValueError) as error:
            complaints.seek(0)
            logger.warning("decoding child ended early: %s", complaints.read()[-500:])
            raise errors.NotAudio from error
        except TimeoutError as error:
            raise errors.NotAudio("The file takes too long to decode.") from error
        finally:
            child.kill()
            child.stdout.close()
            child.wait()
    if "error" in answer:
        raise errors.from_dict(answer["error"], otherwise=errors.NotAudio)


def _read_block(pipe: IO[bytes], *, stall_seconds: float) -> bytes:
    """Return the next block, b"" for the last. Raises EOFError or TimeoutError."""
    (length,) = HEADER.unpack(_read(pipe, HEADER.size, stall_seconds=stall_seconds))
    return _read(pipe, length, stall_seconds=stall_seconds)


def _read(pipe: IO[bytes], count: int, *, stall_seconds: float) -> bytes:
    parts = bytearray()
    deadline = time.monotonic() + stall_seconds
    while len(parts) < count:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(pipe.fileno(), min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("path")
    arguments.add_argument("--max-duration-ms", type=int, required=True)
    arguments.add_argument("--window-ms", type=int, required=True)
    arguments.add_argument("--channel", type=int)
    given = arguments.parse_args()
    confinement.load_libraries()
    cpu_seconds = max(CPU_SECONDS_AT_LEAST, given.max_duration_ms // 1000 // REAL_TIME_PER_CPU_SECOND)
    confinement.confine(memory_bytes=MEMORY_BYTES, cpu_seconds=cpu_seconds)
    output = sys.stdout.buffer
    answer: dict[str, object] = {}
    try:
        for window in audio.windows(
            given.path, max_duration_ms=given.max_duration_ms, window_ms=given.window_ms, channel=given.channel
        ):
            output.write(HEADER.pack(window.nbytes))
            output.write(window.data)
            output.flush()
    except errors.SpeechError as error:
        answer = {"error": error.to_dict()}
    output.write(HEADER.pack(0))
    output.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
