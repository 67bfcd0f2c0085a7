"""The voice print of a piece of speech, by CAM++, and whether the voice changes at a pause in it.

For the segmentation, two people with alike voices who follow each other may be one speaker. A piece with both is like
neither of them, and their voices are joined through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from transcription.speech import levelling
from transcription.speech.diarizers import filterbank, networks
from transcription.speech.diarizers.joining import EXPECTED_LIKENESS, likeness
from transcription.speech.samples import SAMPLE_RATE, Samples, ms_to_samples

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]

# There is no print of less.
MIN_SECONDS = 0.3
# CAM++ makes one frame of two of the filterbank.
FRAME_SAMPLES = ms_to_samples(20)


def hear(said: Samples, *, pauses: Sequence[int]) -> tuple[Float32Array, int | None]:
    """Return (print: (192,), which of the pauses the voice changes at, None if it does not).

    said: the samples of a piece, at least MIN_SECONDS. pauses: after how many of these samples there was a pause.
    The sides of a pause are parts of CAM++'s frames of the whole piece, so that nothing is heard twice. That makes
    them more alike than they are: what is found should be heard again by itself.
    """
    features = filterbank.log_mel(said * np.float32(levelling.gain(said)))
    frames = networks.voice_frames(features - features.mean(axis=0))
    least, change = EXPECTED_LIKENESS, None
    for number, pause in enumerate(pauses):
        lengths = [pause / SAMPLE_RATE, (len(said) - pause) / SAMPLE_RATE]
        if min(lengths) < MIN_SECONDS:
            continue
        cut = round(pause / FRAME_SAMPLES)
        alike = likeness(_print(frames[:cut]), _print(frames[cut:]), seconds=lengths)
        if alike < least:
            least, change = alike, number
    return _print(frames), change


def _print(frames: Float32Array) -> Float32Array:
    return networks.voice_print(np.concatenate([frames.mean(axis=0), frames.std(axis=0, ddof=1)]))
