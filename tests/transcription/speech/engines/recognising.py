"""Shortcuts of tests of engines: a recording as a clip, and the recognised words of clips as text."""

from __future__ import annotations

import threading

import numpy as np

from transcription.speech import audio
from transcription.speech.options import TranscriptionOptions

OPTIONS = TranscriptionOptions()


def load(path):
    return np.concatenate(list(audio.windows(path, max_duration_ms=600_000)))


def heard(engine, clips, options=OPTIONS):
    return [" ".join(word.text for word in one.words) for one in engine.recognise(clips, options=options)]


def in_threads(*calls):
    """Run the calls at the same time and return their results."""
    results = [None] * len(calls)

    def run(index, call):
        results[index] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results
