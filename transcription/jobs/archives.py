"""The results of jobs as one answer, made while it is sent: there is one transcript in memory at a time."""

import io
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Self

from accounts.errors import NotFound
from transcription.jobs.results import items_of, transcript_of_item
from transcription.models import Job, JobItem, Status
from transcription.recordings.names import stem
from transcription.speech.formats import FORMATS
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Transcript

# Pieces of a response are at least this long, except for the last.
PIECE_BYTES = 64 * 1024
REFUSALS_NAME = "not transcribed.txt"
# So much of the list of an archive's files is held in memory. What is longer goes to a file.
LIST_BYTES = 1024 * 1024


def results(
    job: Job, *, read: Callable[[JobItem], Transcript] | None = None
) -> Iterator[tuple[JobItem, Transcript | None]]:
    """Yield the items of a job in their order, each with its result; None for one that has none.

    read: returns the result of an item, or raises NotFound; by default with people's corrections.
    """
    read = read or transcript_of_item
    for item in items_of(job):
        transcript = None
        if item.status == Status.COMPLETED:
            with suppress(NotFound):
                transcript = read(item)
        yield item, transcript


def pieces(parts: Iterator[bytes], *, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the same bytes in longer pieces."""
    waiting: list[bytes] = []
    length = 0
    for part in parts:
        waiting.append(part)
        length += len(part)
        if length >= piece_bytes:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join(waiting)


def zip_of(
    jobs_in_order: Iterable[Job],
    *,
    format_names: Sequence[str],
    options: FormatOptions,
    files: Iterable[tuple[str, Iterable[str]]] = (),
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[bytes]:
    """Yield a ZIP archive with the transcripts of jobs, a file for each of the formats, which `FORMATS` has.

    A file is called as its recording. A text says which recordings have no transcript, and why.
    files: pairs of (name, parts of a text), which come first.

    zipfile holds what it knows of each file until the end: 0.5 KB, and two files for a transcript of an export. So what
    it knows is put aside, and comes back when the archive's list is written (2.5 KB a transcript became 0.6 KB).
    """
    shapes = [FORMATS[name] for name in format_names]
    sink = _Sink()
    names = FreeNames(REFUSALS_NAME)
    refusals: list[str] = []
    with _Aside() as aside:
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, texts in files:
                stem_of_file, _, extension = name.rpartition(".")
                with archive.open(names.take(stem_of_file, extension), "w", force_zip64=True) as file:
                    for text in texts:
                        file.write(text.encode())
                        if sink.length >= piece_bytes:
                            yield sink.take()
            for item, transcript in chain.from_iterable(map(results, jobs_in_order)):
                if transcript is None:
                    refusals.append(f"{item.title}: {item.error_message or item.get_status_display()}\n")
                    continue
                titled = replace(transcript, title=item.title)
                for shape in shapes:
                    name = names.take(stem(item.title, otherwise="transcript"), shape.extension.lstrip("."))
                    archive.writestr(name, shape.render(titled, options=options))
                aside.take_from(archive)
                if sink.length >= piece_bytes:
                    yield sink.take()
            if refusals:
                archive.writestr(REFUSALS_NAME, "".join(refusals))
            aside.give_back_to(archive)
        rest = sink.take()
    # In pieces too: a caller that is asked for one more has sent all but the last.
    for start in range(0, len(rest), piece_bytes):
        yield rest[start : start + piece_bytes]


class FreeNames:
    """Names of files in one archive, each of them once, also where case does not count.

    Ten thousand recordings may be named alike, so the search for a number goes on where the last one ended. Hashes of
    names take half the memory of names. Two names with one hash cost no more than a number that was not needed.
    """

    def __init__(self, *taken: str) -> None:
        self._taken = {hash(name.lower()) for name in taken}
        self._numbers: dict[str, int] = {}

    def take(self, stem: str, extension: str) -> str:
        """Return a name that no other file has: "talk.txt", "talk (2).txt", "talk (3).txt" ...."""
        name = f"{stem}.{extension}"
        if self.is_taken(name):
            # What numbered names begin with. Only names with the same beginning can be in each other's way.
            beginning = f"{stem} (".lower()
            number = self._numbers.get(beginning, 1)
            while self.is_taken(name):
                number += 1
                name = f"{stem} ({number}).{extension}"
            self._numbers[beginning] = number
        self._taken.add(hash(name.lower()))
        return name

    def is_taken(self, name: str) -> bool:
        """Tell whether a file has this name."""
        return hash(name.lower()) in self._taken


class _Aside:
    """What zipfile knows of the files of an archive that was begun, in a file without a name once it is long."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=LIST_BYTES)  # noqa: SIM115  # closed by __exit__
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)  # noqa: S301  # written above, and nobody else reaches the file

    def take_from(self, archive: zipfile.ZipFile) -> None:
        """Take what an archive knows of its files. It needs that for names that come twice: `FreeNames` makes none."""
        for info in archive.filelist:
            pickle.dump(info, self._file)
        self._count += len(archive.filelist)
        archive.filelist.clear()
        archive.NameToInfo.clear()

    def give_back_to(self, archive: zipfile.ZipFile) -> None:
        """Let an archive, to which nothing more is written, read here what it knew."""
        self.take_from(archive)
        # At its end zipfile counts what is in the list, and goes through it.
        archive.filelist = self  # type: ignore[assignment]


class _Sink(io.RawIOBase):
    """What an archive was written to, until it is taken. Without `seek`, zipfile puts sizes behind each file.

    One array for all: the list at the end of an archive comes in four small parts for each file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()

    @property
    def length(self) -> int:
        return len(self._bytes)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        before = len(self._bytes)
        self._bytes += data  # type: ignore[arg-type]  # whatever has a buffer
        return len(self._bytes) - before

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken
