"""Voice activity detection with Silero VAD v6: the probability of speech for each 32 ms of a recording.

The ONNX file is part of faster-whisper's wheel. `faster_whisper.vad` is not used for two reasons: importing it loads
CTranslate2, which a process that forks must not load, and it needs the whole recording at once. This detector keeps
its state from window to window, so that a long file needs no more memory than a short one.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transcription.speech.samples import Samples, samples_to_ms

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FRAME_SAMPLES = 512
FRAME_MS = samples_to_ms(FRAME_SAMPLES)
_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)
_MODEL_PACKAGE, _MODEL_FILE = "faster_whisper", "assets/silero_vad_v6.onnx"


class SpeechDetector:
    """Scores one recording, window by window in order. Use a new detector for the next recording."""

    def __init__(self) -> None:
        import numpy as np

        self._session = _session()
        self._hidden = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._cell = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def score(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Return one probability for each FRAME_SAMPLES samples.

        samples: an incomplete last frame is padded with silence, so only the last window may have one.
        """
        import numpy as np

        padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
        frames = padded.reshape(-1, FRAME_SAMPLES)
        if not len(frames):
            return np.zeros(0, dtype=np.float32)
        contexts = np.concatenate([self._context[None, :], frames[:-1, -_CONTEXT_SAMPLES:]])
        self._context = frames[-1, -_CONTEXT_SAMPLES:].copy()
        scores, self._hidden, self._cell = self._session.run(
            None, {"input": np.concatenate([contexts, frames], axis=1), "h": self._hidden, "c": self._cell}
        )
        return np.asarray(scores, dtype=np.float32).reshape(-1)


def load() -> None:
    """Load the network into this process, once. It has no threads, so that forks can use it (decision 41)."""
    _session()


@lru_cache(maxsize=1)
def _session() -> Any:
    import onnxruntime

    package = importlib.util.find_spec(_MODEL_PACKAGE)  # finds the package without importing it
    assert package is not None, f"{_MODEL_PACKAGE} is a dependency"
    folder = (package.submodule_search_locations or [""])[0]
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1  # the other cores are for the engine
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        str(Path(folder) / _MODEL_FILE),
        providers=["CPUExecutionProvider"],
        sess_options=options,
    )
