"""What telling speakers apart costs on a CPU: each diarizer in a process of its own, on the same real meetings.

Usage: script/benchmark diarizers [--minutes N] [NAME ...]     (neural, clustering, and pyannote where it is installed)

Prints CPU seconds for a minute of audio, the memory of the loaded diarizer, and by how much it grew at most. Meetings
are the excerpts of tests/fixtures/ami, again and again; --minutes 180 shows whether memory is flat. `cutting` is what
the voice activity detector and its leveller cost, which every diarizer needs before it.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import django
import numpy as np
import psutil

from transcription.speech import audio, cutting, registry
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE, samples_to_ms

MEETINGS = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "ami"
WINDOW = 30 * SAMPLE_RATE
MEBIBYTE = 1024**2


def excerpts() -> np.ndarray:
    return np.concatenate(
        [part for path in sorted(MEETINGS.glob("*.flac")) for part in audio.windows(path, max_duration_ms=60_000)]
    )


def measure(name: str, *, minutes: float) -> dict[str, Any]:
    """Diarize so many minutes in this process, as a worker would."""
    os.environ.update({"DJANGO_SETTINGS_MODULE": "voxsite.settings", "VOXSITE_ENV": "development"})
    django.setup()
    from transcription.worker import map_large_blocks_apart

    map_large_blocks_apart()
    process = psutil.Process()
    samples = excerpts()
    windows = [samples[at : at + WINDOW] for at in range(0, len(samples), WINDOW)]
    started = time.process_time()
    stretches = [stretch for clip in cutting.clips(windows, pause_ms=400) for stretch in clip.stretches()]
    cutting_seconds = time.process_time() - started
    idle = process.memory_info().rss
    started = time.process_time()
    diarization = diarizer(name).begin(options=TranscriptionOptions())
    # The first clip loads what is loaded late.
    diarization.add(0, stretches[0][1])
    load_seconds, loaded = time.process_time() - started, process.memory_info().rss
    round_ms = samples_to_ms(len(samples))
    rounds = max(1, round(minutes * 60_000 / round_ms))
    grown = []
    started = time.process_time()
    for number in range(rounds):
        for at, window in zip(range(0, len(samples), WINDOW), windows, strict=True):
            diarization.hear((number + 1) * round_ms + samples_to_ms(at), window)
            grown.append(process.memory_info().rss)
        for start_ms, said in stretches:
            diarization.add((number + 1) * round_ms + start_ms, said)
    turns = diarization.turns()
    seconds = time.process_time() - started
    audio_minutes = rounds * round_ms / 60_000
    return {
        "name": name,
        "minutes": audio_minutes,
        "cutting": cutting_seconds / (round_ms / 60_000),
        "load": load_seconds,
        "seconds": seconds / audio_minutes,
        "loaded_mb": (loaded - idle) / MEBIBYTE,
        "half_mb": (max(grown[: len(grown) // 2]) - loaded) / MEBIBYTE,
        "grown_mb": (max([*grown, process.memory_info().rss]) - loaded) / MEBIBYTE,
        "speakers": len({turn.speaker for turn in turns}),
    }


def diarizer(name: str) -> Any:
    if name != "pyannote":
        return registry.load_diarizer(name)
    from transcription.speech.diarizers.pyannote import DEFAULT_PIPELINE, PyannoteDiarizer

    pipeline = os.environ.get("VOXSITE_PYANNOTE", DEFAULT_PIPELINE)
    return PyannoteDiarizer(pipeline, token=os.environ.get("VOXSITE_HF_TOKEN"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, minutes=given.minutes)))
        return
    installed = ["pyannote"] if importlib.util.find_spec("pyannote.audio") else []
    print("| diarizer | minutes | cutting, CPU s a minute | diarizer, CPU s a minute | loading | loaded | grows by |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in given.names or ["neural", "clustering", *installed]:
        command = [sys.executable, __file__, "--one", name, "--minutes", str(given.minutes)]
        answer = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        found = json.loads(answer.stdout.splitlines()[-1])
        print(
            f"| {found['name']} | {found['minutes']:.0f} | {found['cutting']:.2f} | {found['seconds']:.2f} "
            f"| {found['load']:.1f} s | {found['loaded_mb']:.0f} MB "
            f"| {found['grown_mb']:.0f} MB ({found['half_mb']:.0f} at half) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
