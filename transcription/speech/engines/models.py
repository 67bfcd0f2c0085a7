"""Finds Whisper models: in a folder, or by a name on the Hugging Face hub, from which they are downloaded once.

Only the engine process imports this module, since it loads CTranslate2.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faster_whisper.utils import _MODELS, download_model
from huggingface_hub.constants import HF_HUB_CACHE

from transcription.speech import registry
from transcription.speech.engines import whisper_languages
from transcription.speech.errors import EngineUnavailable

logger = logging.getLogger(__name__)

MODEL_FILE = "model.bin"
HUB_SECONDS = 3.0
REPORT_SECONDS = 10.0
# Memory of a loaded model, with its working memory, as a multiple of the size of its float16 file.
_MEMORY_FACTORS = {"int8": 0.8, "float16": 1.4, "bfloat16": 1.4, "float32": 2.4}


def loader(*, device: str, compute_type: str, max_batch: int = 0) -> Callable[[str], Any]:
    """Return a function that loads a Whisper engine by folder or name, and downloads the model if needed."""

    def load(source: str) -> Any:
        return registry.load_engine(
            "faster_whisper",
            model=str(folder_of(source)),
            name=whisper_languages.label(source),
            device=device,
            compute_type=compute_type,
            max_batch=max_batch,
        )

    return load


def is_local(source: str) -> bool:
    """Tell whether the model is on this machine."""
    return _local_folder(source) is not None


def is_on_hub(source: str, *, seconds: float = HUB_SECONDS) -> bool:
    """Tell whether the hub has the model and answers in time. Tries once."""
    name = _MODELS.get(source, source)
    if os.environ.get("HF_HUB_OFFLINE") or "/" not in name:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not endpoint.startswith(("https://", "http://")):
        return False
    try:
        with urllib.request.urlopen(f"{endpoint}/api/models/{name}", timeout=seconds) as answer:  # noqa: S310 - checked
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def folder_of(source: str, *, report_seconds: float = REPORT_SECONDS) -> Path:
    """Return the folder of the model. Downloads it if needed. Raises EngineUnavailable.

    report_seconds: how often the progress of a download is logged.
    """
    local = _local_folder(source)
    if local is not None:
        return local
    if Path(source).is_absolute() or source.startswith("."):
        raise EngineUnavailable(f"There is no converted Whisper model in {source}.")
    try:
        with _logging_progress(source, report_seconds=report_seconds):
            return Path(download_model(source))
    except Exception as error:  # the hub's client raises errors of requests, of httpx and of its own
        raise EngineUnavailable(f"The model {source} could not be downloaded.") from error


def megabytes(source: str, *, compute_type: str) -> int:
    """Return the approximate memory of the loaded model; 0 if it is not on this machine."""
    folder = _local_folder(source)
    if folder is None:
        return 0
    part = next(
        (part for name, part in _MEMORY_FACTORS.items() if compute_type.startswith(name)), _MEMORY_FACTORS["float16"]
    )
    return round((folder / MODEL_FILE).stat().st_size * part / 1e6)


def _local_folder(source: str) -> Path | None:
    if (Path(source) / MODEL_FILE).is_file():
        return Path(source)
    if Path(source).is_absolute() or (source not in _MODELS and "/" not in source):
        return None
    try:
        folder = Path(download_model(source, local_files_only=True))
    except (OSError, ValueError):  # not in the cache of the hub's client, or no name that the hub could have
        return None
    return folder if (folder / MODEL_FILE).exists() else None


@contextmanager
def _logging_progress(source: str, *, report_seconds: float) -> Iterator[None]:
    """Log the progress of a download while the `with` block runs."""
    is_over = threading.Event()
    before, started = _cached_megabytes(), time.monotonic()
    logger.info("downloading the model %s, once", source)

    def report() -> None:
        while not is_over.wait(report_seconds):
            logger.info("downloading the model %s: %d MB so far", source, _cached_megabytes() - before)

    thread = threading.Thread(target=report, name="download report", daemon=True)
    thread.start()
    try:
        yield
        logger.info("downloaded the model %s in %.0f s", source, time.monotonic() - started)
    finally:
        is_over.set()
        thread.join()


def _cached_megabytes() -> int:
    total = 0
    for path in Path(HF_HUB_CACHE).glob("models--*/blobs/*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # a complete file was renamed meanwhile
    return total // 1_000_000
