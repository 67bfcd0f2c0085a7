"""Recordings that come as bare bytes: the body of a request, or PCM without a header. Each becomes an uploaded file.

What `read()`s is copied piece by piece, so a body of gigabytes takes no memory. The file is one as Django makes it of
a large form field: `submissions.submit_file` and the fingerprint of an Idempotency-Key take it, and it vanishes when
it is closed, for example by `with`.
"""

import struct
from collections.abc import Callable
from typing import Protocol

from django.core.files.uploadedfile import TemporaryUploadedFile

from transcription.recordings import storage
from transcription.speech import signatures

WAV_HEADER_BYTES = 44
SAMPLE_BYTES = 2


class Source(Protocol):
    """What bytes are read from: Django's request (not DRF's: that takes a chunked body for none), or a file."""

    def read(self, size: int, /) -> bytes: ...


class _RawUpload(TemporaryUploadedFile):
    """An uploaded file that may have been moved into storage when nobody refers to it any more."""

    def __del__(self) -> None:
        # Without this, Python's own temporary file would complain that it is gone.
        if hasattr(self, "file"):
            self.close()


def received(source: Source, *, name: str) -> TemporaryUploadedFile:
    """Return the bytes as a file, as they are."""
    return _received(name, lambda file: _copy(source, file))


def received_pcm(source: Source, *, name: str, sample_rate: int, channels: int = 1) -> TemporaryUploadedFile:
    """Return headerless samples (signed, 16 bits, little-endian) as a WAV file.

    An odd byte at the end is half of a sample and is left out. No samples become an empty file.
    """
    return _received(name, lambda file: _copy_pcm(source, file, sample_rate=sample_rate, channels=channels))


def received_audio(source: Source, *, name: str, sample_rate: int, channels: int = 1) -> TemporaryUploadedFile:
    """Return a recording that has a container as it is, and any other as `received_pcm` does. Its bytes decide."""

    def fill(file: TemporaryUploadedFile) -> None:
        head = _read_head(source)
        if signatures.is_headerless(head):
            _copy_pcm(source, file, head=head, sample_rate=sample_rate, channels=channels)
        else:
            file.write(head)
            _copy(source, file)

    return _received(name, fill)


def wav_header(*, data_bytes: int, sample_rate: int, channels: int = 1) -> bytes:
    """Return the header of a WAV file with samples of 16 bits (RIFF, Microsoft 1991: chunks `fmt ` and `data`)."""
    frame_bytes = SAMPLE_BYTES * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", WAV_HEADER_BYTES - 8 + data_bytes, b"WAVE",
        b"fmt ", 16, 1, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 8 * SAMPLE_BYTES,
        b"data", data_bytes,
    )  # fmt: skip


def _received(name: str, fill: Callable[[TemporaryUploadedFile], None]) -> TemporaryUploadedFile:
    """Return a filled file at its start, with all bytes on the disk: it is opened again by its path."""
    # Without the name: Django would end that of the file on the disk with its extension, however long that is.
    file = _RawUpload("recording", "application/octet-stream", 0, None)
    try:
        file.name = name
        fill(file)
        file.flush()
    except BaseException:
        file.close()
        raise
    file.size = file.seek(0, 2)
    file.seek(0)
    return file


def _read_head(source: Source) -> bytes:
    head = b""
    while len(head) < signatures.HEAD_BYTES and (piece := source.read(signatures.HEAD_BYTES - len(head))):
        head += piece
    return head


def _copy(source: Source, file: TemporaryUploadedFile) -> None:
    while piece := source.read(storage.COPY_BYTES):
        file.write(piece)


def _copy_pcm(
    source: Source, file: TemporaryUploadedFile, *, sample_rate: int, channels: int, head: bytes = b""
) -> None:
    file.write(b"\0" * WAV_HEADER_BYTES)
    file.write(head)
    _copy(source, file)
    data_bytes = file.tell() - WAV_HEADER_BYTES
    data_bytes -= data_bytes % (SAMPLE_BYTES * channels)
    if not data_bytes:
        file.truncate(0)
        return
    file.truncate(WAV_HEADER_BYTES + data_bytes)
    file.seek(0)
    file.write(wav_header(data_bytes=data_bytes, sample_rate=sample_rate, channels=channels))
