"""Recordings whose words are known, made of the samples and recordings of the tests."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.fixtures import recordings, tiny_whisper
from transcription.speech import evaluate

RATE = 16_000
SAMPLES = Path(__file__).resolve().parents[3] / "tests" / "fixtures" / "whisper" / "samples"
# Whether a model writes "five" or "5" is no error of the kind that is counted here.
NUMBERS = frozenset(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])


@dataclass(frozen=True)
class Spoken:
    """A recording and what is said in it, in lower case without punctuation."""

    path: Path
    text: str


def speech() -> np.ndarray:
    """Return all English samples, one after another, as float32."""
    parts = []
    for path in sorted(SAMPLES.glob("en-*")):
        parts.append(decoded(path))
        parts.append(np.zeros(RATE // 2, dtype=np.float32))
    return np.concatenate(parts)


def write(path: Path, samples: np.ndarray) -> Path:
    """Write FLAC."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=RATE, layout="mono")
        for start in range(0, len(samples), 4096):
            piece = (samples[start : start + 4096] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def long_file(path: Path, *, seconds: int) -> Path:
    return write(path, np.resize(speech(), RATE * seconds))


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as source:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        pieces = [piece.to_ndarray()[0] for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate(pieces)


def sentences() -> list[tuple[np.ndarray, str]]:
    """Return (samples, words) of every English sentence of the fixtures without numbers."""
    turns = [
        (sample.path, turn["start"], turn["end"], str(turn["text"]))
        for sample in tiny_whisper.samples().values()
        if sample.language == "en"
        for turn in sample.turns
    ]
    for name in ("sentence-slt.flac", "sentence-rms.wav", "dialogue.flac"):
        recording = recordings.named(name)
        turns += [(recording.path, t["start_ms"] / 1000, t["end_ms"] / 1000, t["text"]) for t in recording.turns]
    audio = {path: decoded(path) for path in dict.fromkeys(path for path, *_ in turns)}
    return [
        (audio[path][max(0, int((float(start) - 0.1) * RATE)) : int((float(end) + 0.1) * RATE)], text)
        for path, start, end, text in turns
        if not NUMBERS & set(text.split())
    ]


def clips(folder: Path, *, count: int, seed: int = 1, seconds: tuple[float, float] = (2, 12)) -> list[Spoken]:
    """Write clips of whole sentences in random order, no longer than a random length and nearly as long."""
    known, random = sentences(), np.random.default_rng(seed)
    pause = np.zeros(RATE * 3 // 10, dtype=np.float32)
    made = []
    for number in range(count):
        room = int(random.uniform(*seconds) * RATE)
        parts, words = [pause], ""
        for index in random.permutation(len(known)):
            samples, text = known[index]
            if sum(map(len, parts)) + len(samples) + len(pause) <= room:
                parts, words = [*parts, samples, pause], f"{words} {text}"
        made.append(Spoken(write(folder / f"clip-{seed}-{number}.flac", np.concatenate(parts)), words.strip()))
    return made


def word_errors(spoken: list[Spoken], texts: list[str]) -> float:
    """Return the word error rate over all recordings."""
    import jiwer

    return float(jiwer.wer([one.text for one in spoken], [evaluate.normalised(text) or "-" for text in texts]))
