"""Keeps a recording on disk as 16-bit samples at their place in time, so that memory holds at most one clip.

A worker keeps what it has decoded in one, and an engine process what workers send it, in parts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from transcription.speech.samples import Samples, ms_to_samples, samples_to_ms

BYTES_PER_SAMPLE = 2
# Of a part (see `parts`): 33 seconds. It is sent in a message of its own.
PART_BYTES = 1 << 20
_PREFIX, _SUFFIX = "recording-", ".pcm"
# The file is removed with its process, unless the process was killed. Older files than this have no owner any more.
ABANDONED_SECONDS = 24 * 3600.0


class Spool:
    """Stores clips in order; the time between them reads as silence. `close` removes the file.

    folder: place of the file, which only its owner may read; None for the system's folder of temporary files.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            _sweep(folder)
        self._file = tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX, suffix=_SUFFIX)  # noqa: SIM115 - closed by `close`
        self._clips: list[tuple[int, int]] = []

    @property
    def path(self) -> Path:
        """The file: little-endian int16, 16 kHz mono, from the start of the recording."""
        return Path(self._file.name)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """List of (start_ms, end_ms) of the clips."""
        return [(start_ms, start_ms + samples_to_ms(count)) for start_ms, count in self._clips]

    def add(self, start_ms: int, samples: Samples) -> None:
        """Write the clip. Samples outside of -1 to 1 are clipped."""
        import numpy as np

        whole = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
        self.write(ms_to_samples(start_ms) * BYTES_PER_SAMPLE, whole.tobytes())
        self._clips.append((start_ms, len(samples)))

    def write(self, offset: int, part: bytes) -> None:
        """Write a part of another spool file, from this byte on."""
        self._file.seek(offset)
        self._file.write(part)
        self._file.flush()

    def clips(self) -> Iterator[tuple[int, Samples]]:
        """Yield every clip as (start_ms, samples)."""
        for start_ms, count in self._clips:
            yield start_ms, read(self.path, first=ms_to_samples(start_ms), count=count)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def parts(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield a spool file as (offset in bytes, part), without parts that are silent."""
    with path.open("rb") as file:
        offset = 0
        while part := file.read(PART_BYTES):
            if part.strip(b"\0"):
                yield offset, part
            offset += len(part)


def read(path: Path, *, first: int = 0, count: int = -1) -> Samples:
    """Return `count` samples of a spool file from sample number `first` on; count -1 means to its end."""
    import numpy as np

    whole = np.fromfile(path, dtype="<i2", offset=first * BYTES_PER_SAMPLE, count=count)
    samples = whole.astype(np.float32)
    samples /= 32768.0
    return samples


def _sweep(folder: Path) -> None:
    """Remove the files of killed processes."""
    oldest = time.time() - ABANDONED_SECONDS
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except FileNotFoundError:
            continue
