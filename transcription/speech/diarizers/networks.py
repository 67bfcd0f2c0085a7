"""Loads the networks of the neural diarizer: files of this package, checked by hash, run by onnxruntime.

`nets/README.md` says where they come from. Each runs in the thread that asks it. So a worker loads them before it forks
(decision 41), where a session with threads of its own would hang in the child.
"""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transcription.speech.errors import EngineUnavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]

FOLDER = Path(__file__).parent / "nets"
SEGMENTATION = "segmentation-3.0.onnx"
PRINT_FRAMES = "campplus-frames.onnx"
PRINT_LAYER = "campplus-dense.npz"
CHANNELS = "channel-directions.npz"
SHA256 = {
    SEGMENTATION: "9a5cc8561fb528e45ac79ec536a1751ef00e5d132670fecdd81441392dab66e4",
    PRINT_FRAMES: "fc83ea57f63b23987edb7d305a1f9d7634ebae10a9a559db9d58ac78d816c8b7",
    PRINT_LAYER: "c8c13fd3fc6ac97933be30b5daf86108d8b08d0e28110872d9357144a8ad2fbb",
    CHANNELS: "0a1794e5353da1085c22e67bf4a5ae83737a8806a5a33d1dd96ccb3e3105849a",
}


def load(*, folder: Path = FOLDER) -> None:
    """Load both networks into this process, once. Raises EngineUnavailable."""
    _segmentation(folder)
    _prints(folder)
    _channels(folder)


def segment(samples: Float32Array) -> Float32Array:
    """Return the log probability of each class in each frame: (n, 589, 7) for n windows, (n, 160,000)."""
    return _run(_segmentation(FOLDER), {"x": samples[:, None]})


def voice_frames(features: Float32Array) -> Float32Array:
    """Return CAM++'s frames, (n / 2, 512), for log mel features without their mean, (n, 80)."""
    import numpy as np

    [frames] = _run(_prints(FOLDER)[0], {"feats": features[None]})
    return np.asarray(frames, dtype=np.float32)


def voice_print(statistics: Float32Array) -> Float32Array:
    """Return CAM++'s last layer, (192,), of the means and deviations of its frames, (1024,). No ReLU follows."""
    import numpy as np

    _, weights, mean, scale = _prints(FOLDER)
    return np.asarray((weights @ statistics - mean) * scale, dtype=np.float32)


def without_channel(prints: Float32Array) -> Float32Array:
    """Return voice prints, (n, 192), of length 1 without the directions in which codecs and filters move them.

    It is nuisance attribute projection (Solomonoff, Quillen and Campbell, Odyssey 2004).
    """
    import numpy as np

    directions = _channels(FOLDER)
    unit = prints / np.maximum(np.linalg.norm(prints, axis=1, keepdims=True), 1e-9)
    return np.asarray(unit - unit @ directions.T @ directions, dtype=np.float32)


def read(name: str, *, folder: Path = FOLDER) -> bytes:
    """Return the bytes of a file of this package. Raises EngineUnavailable if it is missing or another one."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise EngineUnavailable(f"The network {name} of the diarizer is missing.") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise EngineUnavailable(f"The network {name} of the diarizer is damaged: its hash is wrong.")
    return content


@lru_cache(maxsize=1)
def _segmentation(folder: Path) -> Any:
    return _session(SEGMENTATION, folder=folder)


@lru_cache(maxsize=1)
def _prints(folder: Path) -> tuple[Any, Float32Array, Float32Array, Float32Array]:
    """Return (session of the frames, weights of the last layer, mean and scale of its normalisation)."""
    import numpy as np

    layer = np.load(io.BytesIO(read(PRINT_LAYER, folder=folder)), allow_pickle=False)
    return _session(PRINT_FRAMES, folder=folder), layer["w"], layer["mean"], 1 / np.sqrt(layer["var"] + layer["eps"])


@lru_cache(maxsize=1)
def _channels(folder: Path) -> Float32Array:
    """Return directions of voice prints, (8, 192), of length 1 and at right angles."""
    import numpy as np

    loaded = np.load(io.BytesIO(read(CHANNELS, folder=folder)), allow_pickle=False)
    return np.asarray(loaded["directions"], dtype=np.float32)


def _session(name: str, *, folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1  # the other cores are for the engine
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    read(name, folder=folder)  # for its hash
    # By its path, onnxruntime maps the file. With the bytes it needs 16 MB more for CAM++, for as long as it lives.
    return onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"], sess_options=options)


def _run(session: Any, inputs: dict[str, Float32Array]) -> Float32Array:
    import numpy as np

    return np.asarray(session.run(None, inputs)[0], dtype=np.float32)
