"""The voice print of a piece of speech, by CAM++, and whether the voice changes at a pause in it.

For the segmentation, two people with alike voices who follow each other may be one speaker. A piece with both is like
neither of them, and their voices are joined through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

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
# Sound that is hardly ever within so many decibels of the loudest bin is none. What 16 bits leave above the band of a
# codec is 40 to 70 below that bin, the hiss of a far microphone 6 to 30.
BAND_DB = 35.0
_LOUD_PERCENT = 90


class Heard(NamedTuple):
    """What is known of a piece.

    voice_print: (192,). top: the bin of the filterbank above the highest frequency that there is, at most
    `filterbank.BINS`. change: which of the pauses the voice changes at, None if it does not.
    """

    voice_print: Float32Array
    top: int
    change: int | None


def hear(said: Samples, *, pauses: Sequence[int]) -> Heard:
    """Return the print of a piece, and in which band it is.

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
    return Heard(_print(frames), top(features), change)


def top(features: Float32Array) -> int:
    """Return the bin above the highest frequency in log mel features, (n, BINS), with n of at least 1."""
    loud = np.percentile(features, _LOUD_PERCENT, axis=0)
    return int(np.flatnonzero(loud > loud.max() - BAND_DB * np.log(10) / 10)[-1]) + 1


def _print(frames: Float32Array) -> Float32Array:
    return networks.voice_print(np.concatenate([frames.mean(axis=0), frames.std(axis=0, ddof=1)]))
