"""How much of real speech reaches the engine: the 14 conversations as they are, and as people send them.

Usage: script/benchmark hearing [NAME ...]     (without a name all conditions; needs ffmpeg with libgsm for "gsm")

Each line has the share of the reference's speech that is in clips, and the share of the time without speech that is.
Noise is relative to the mean power of the reference's speech. The 16-bit conditions go through 16-bit files.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fixtures.make_meetings import write_wav
from transcription.speech import audio, cutting, references
from transcription.speech.samples import SAMPLE_RATE, Samples
from transcription.speech.transcript import Turn

# As the pipeline cuts for Whisper.
PAUSE_MS, PACKED_MS = 400, 28_000
MAX_DURATION_MS = 600_000
STEP_MS = 10

Change = Callable[[Samples, np.ndarray], Samples]


def quieter(decibels: float) -> Change:
    return lambda samples, _: rounded(samples * 10 ** (-decibels / 20))


def rounded(samples: Samples) -> Samples:
    """Return the samples as a file of 16 bits holds them."""
    return np.asarray(np.clip(np.round(samples * 32_768), -32_768, 32_767) / 32_768, dtype=np.float32)


def offset(samples: Samples, _: np.ndarray) -> Samples:
    return rounded(samples * 10 ** (-8 / 20) + 0.05)


def noisy(decibels: float) -> Change:
    """Add white noise so many decibels below the speech."""

    def change(samples: Samples, spoken: np.ndarray) -> Samples:
        is_speech = np.repeat(spoken, STEP_MS * SAMPLE_RATE // 1000)[: len(samples)]
        power = float((samples[: len(is_speech)][is_speech] ** 2).mean())
        noise = np.random.default_rng(1).standard_normal(len(samples)) * (power * 10 ** (-decibels / 10)) ** 0.5
        return rounded(samples + noise)

    return change


def coded(rate: int, extension: str, *options: str) -> Change:
    """Let ffmpeg write the samples with a codec, and the product read them."""

    def change(samples: Samples, _: np.ndarray) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "source.wav", Path(folder) / f"target.{extension}"
            write_wav(source, samples)
            subprocess.run(
                ["ffmpeg", "-v", "error", "-i", str(source), "-ar", str(rate), *options, str(target)], check=True
            )
            return read(target)

    return change


CONDITIONS: dict[str, Change] = {
    "as-recorded": lambda samples, _: samples,
    "30-dB-quieter": quieter(30),
    "40-dB-quieter": quieter(40),
    "offset-0.05": offset,
    "noise-5-dB-below": noisy(5),
    "gsm": coded(8000, "gsm", "-c:a", "libgsm"),
    "g711": coded(8000, "wav", "-c:a", "pcm_mulaw"),
    "mp3-16": coded(16_000, "mp3", "-b:a", "16k"),
}


def read(path: Path) -> Samples:
    return np.concatenate(list(audio.windows(path, max_duration_ms=MAX_DURATION_MS)))


def spoken_steps(spans: list[tuple[int, int]], *, count: int) -> np.ndarray:
    """Return for each STEP_MS whether it is inside a span of (start_ms, end_ms)."""
    steps = np.zeros(count, dtype=bool)
    for start_ms, end_ms in spans:
        steps[start_ms // STEP_MS : -(-end_ms // STEP_MS)] = True
    return steps


def heard(samples: Samples) -> list[tuple[int, int]]:
    """Return (start_ms, end_ms) of each stretch that an engine gets."""
    window = 30 * SAMPLE_RATE
    windows = (samples[at : at + window] for at in range(0, len(samples), window))
    return [
        (start_ms, start_ms + len(stretch) * 1000 // SAMPLE_RATE)
        for clip in cutting.clips(windows, pause_ms=PAUSE_MS, packed_ms=PACKED_MS)
        for start_ms, stretch in clip.stretches()
    ]


def as_spans(turns: tuple[Turn, ...]) -> list[tuple[int, int]]:
    return [(turn.start_ms, turn.end_ms) for turn in turns]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", choices=[[], *CONDITIONS], default=[])
    names = arguments.parse_args().names or list(CONDITIONS)
    known = [(one, read(one.path)) for one in references.conversations()]
    for name in names:
        speech = rest = found = taken = 0
        for one, samples in known:
            spoken = spoken_steps(as_spans(one.turns or ()), count=len(samples) * 1000 // SAMPLE_RATE // STEP_MS)
            stretches = spoken_steps(heard(CONDITIONS[name](samples, spoken)), count=len(spoken))
            speech, rest = speech + int(spoken.sum()), rest + int((~spoken).sum())
            found, taken = found + int((spoken & stretches).sum()), taken + int((~spoken & stretches).sum())
        print(
            f"{name:20} {100 * found / speech:5.1f} % of the speech, {100 * taken / rest:5.1f} % of the rest",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
