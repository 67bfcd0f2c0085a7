"""Measures word and speaker errors on recordings with known words and speakers: `script/evaluate FOLDER | --real`.

Each audio file has its references beside it under the same name: `call.mp3` with `call.txt` (its words), `call.rttm`
(its speaker turns in NIST's format), or both. Alternatively one `recordings.json` describes all files: a list of
{"file", "text", "turns": [{"start_ms", "end_ms", "speaker"}]}. Needs the packages jiwer and pyannote.metrics.

--real takes real recordings: for words six of people who read (tests/fixtures/read), with Whisper base unless another
model is named; for speakers 13 excerpts of meetings (tests/fixtures/ami) and the telephone call inside the wheel of
pyannote.audio, without an engine, with the usual collar and without one. The call and Whisper base are downloaded once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transcription.speech import pipeline, references, registry
from transcription.speech.diarizers.base import Diarization, Diarizer
from transcription.speech.diarizers.pyannote import DEFAULT_PIPELINE, PyannoteDiarizer
from transcription.speech.engines import model_packages, whisper_languages
from transcription.speech.engines.base import Engine, Recognition
from transcription.speech.errors import SpeechError
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import SPACELESS_LANGUAGES, Turn, Word

MAX_DURATION_MS = 24 * 3600 * 1000
# This much time around each change of speaker is not scored, half before and half after it, because human annotators do
# not agree on it more exactly (NIST's evaluations use 0.25 s on either side).
COLLAR_SECONDS = 0.5
MODELS = references.PROJECT / "var" / "models"


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


def score(
    reference: references.Reference,
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
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(re.sub(r"[^\w\s']|_", " ", plain).split())


class NoEngine:
    """Implements `engines.base.Engine` without recognising speech, to measure a diarizer alone and quickly."""

    name = "none"
    languages: frozenset[str] | None = None
    max_clip_ms, pause_ms, packed_ms = 30_000, 400, 0
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
    merged: list[Turn] = []  # pyannote.metrics counts overlapping turns of one person twice
    for turn in sorted(turns, key=lambda turn: (turn.speaker, turn.start_ms)):
        if merged and turn.speaker == merged[-1].speaker and turn.start_ms < merged[-1].end_ms:
            merged[-1] = replace(merged[-1], end_ms=max(merged[-1].end_ms, turn.end_ms))
        elif turn.start_ms < turn.end_ms:
            merged.append(turn)
    for number, turn in enumerate(merged):
        annotation[Segment(turn.start_ms / 1000, turn.end_ms / 1000), number] = turn.speaker
    return annotation


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
    which.add_argument("--real", action="store_true", help="real recordings: words, then speakers")
    add("--engine", help="faster_whisper (default), pocketsphinx, or none to judge speakers only")
    add("--model", help="of faster_whisper: a name or a folder (default: large-v3-turbo; --real: base)")
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


@dataclass(frozen=True, slots=True)
class _Part:
    """Recordings that are judged in one table. title: empty if it is the only one."""

    title: str
    recordings: list[references.Reference]
    engine: Engine
    diarizer: Diarizer | None
    collar_seconds: float


def _parts(given: argparse.Namespace) -> list[_Part]:
    """Return what the arguments ask for. Raises SpeechError, ValueError or OSError if it cannot be tried."""

    def diarizer() -> Diarizer | None:
        token = os.environ.get("VOXSITE_HF_TOKEN", "")
        return _make_diarizer(given.diarizer, pyannote=given.pyannote, token=token, device=given.device)

    def engine(model: str) -> Engine:
        return _make_engine(given.engine or "faster_whisper", model=given.model or model, device=given.device)

    usual = COLLAR_SECONDS if given.collar is None else given.collar
    if not given.real:
        recordings = references.of_folder(given.folder)
        return [_Part("", recordings, engine("large-v3-turbo"), diarizer(), usual)]
    parts = []
    if given.engine != NoEngine.name:
        model = "base" if given.engine or given.model else str(model_packages.fetch(MODELS))
        parts.append(_Part("Words", references.of_folder(references.READINGS), engine(model), None, usual))
    who, conversations = diarizer(), references.conversations()
    for collar_seconds in [usual] if given.collar is not None else [usual, 0.0]:
        title = f"Speakers, with a collar of {collar_seconds / 2:g} s on either side"
        parts.append(_Part(title, conversations, NoEngine(), who, collar_seconds))
    return parts


def _judge(part: _Part, *, options: TranscriptionOptions) -> list[Score]:
    scores = []
    for recording in part.recordings:
        print(recording.path.name, file=sys.stderr)
        scores.append(
            score(
                recording,
                engine=part.engine,
                diarizer=part.diarizer,
                options=options,
                collar_seconds=part.collar_seconds,
            )
        )
    return scores


def _to_json(part: _Part, scores: Sequence[Score]) -> dict[str, Any]:
    return {
        **({"title": part.title} if part.title else {}),
        "engine": part.engine.name,
        "diarizer": part.diarizer.name if part.diarizer is not None else None,
        "collar_seconds": part.collar_seconds,
        "recordings": [one.to_dict() for one in scores],
        "all": total(scores).to_dict(),
    }


def main() -> int:
    """Print the results. Returns 1 if a recording could not be transcribed, 2 if none could be tried."""
    given = _arguments().parse_args()
    options = TranscriptionOptions(language=given.language, num_speakers=given.speakers)
    try:
        parts = _parts(given)
    except (SpeechError, ValueError, OSError, model_packages.PackagesUnavailable) as error:
        print(f"script/evaluate: {error}", file=sys.stderr)
        return 2
    # Now, while there is one thread. Those of a recording would load it at the same moment, and one of them would get
    # an ImportError of a half-loaded NumPy (2.4.6, in 4 of 14 runs on a busy machine). Workers load it early too.
    importlib.import_module("numpy")
    has_failed, printed = False, []
    for part in parts:
        scores = _judge(part, options=options)
        has_failed = has_failed or any(one.error for one in scores)
        if given.json:
            printed.append(_to_json(part, scores))
        else:
            heading = f"{part.title}:\n\n" if part.title else ""
            print(f"{heading}{table(scores)}\n")
    if given.json:
        print(json.dumps(printed[0] if len(printed) == 1 else {"parts": printed}, indent=1))
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
