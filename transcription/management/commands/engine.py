"""Runs an engine process, which loads the speech models once and recognises clips of all jobs."""

import logging
import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from transcription import recognition
from transcription.speech import registry
from transcription.speech.diarizers import service as diarizing
from transcription.speech.engines import server
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import SerialService
from transcription.speech.errors import EngineUnavailable, SpeechError

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Load the speech engine and serve it to the workers of this machine, until SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--number", type=int, default=1, help="which of this host's engine processes, from 1")

    def handle(self, *args: Any, **options: Any) -> None:
        number = options["number"]
        if not 1 <= number <= len(settings.ENGINE_SOCKETS):
            raise CommandError(f"VOXSITE_ENGINES asks for {len(settings.ENGINE_SOCKETS)} engine processes only.")
        # Usage statistics of the hub's client would tell Hugging Face which models this site uses.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        name = chosen_engine()
        try:
            device = settings.ENGINE_DEVICES[number - 1]
            recogniser = Recogniser(make_model_cache(name, device=device), max_batch=settings.ENGINE_BATCH)
            server.serve(recogniser, *services(device=device), address=settings.ENGINE_SOCKETS[number - 1])
        except SpeechError as error:
            raise CommandError(error.message) from error


def chosen_engine() -> str:
    """Return the short name of the engine to load. Decides "auto" and tells the other processes."""
    if settings.ENGINE != "auto":
        return str(settings.ENGINE)
    name = "faster_whisper" if _has_whisper() else recognition.FALLBACK_ENGINE
    recognition.remember_choice(name)
    return name


def services(*, device: str) -> list[SerialService]:
    """Return the services of an engine process besides recognition."""
    if settings.DIARIZER != "pyannote":
        return []
    make_handler = diarizing.pyannote_handler(
        settings.PYANNOTE, token=settings.HF_TOKEN or None, device=None if device == "auto" else device
    )
    return [SerialService(diarizing.KIND, make_handler, max_frame_bytes=1024)]


def make_model_cache(name: str, *, device: str) -> ModelCache:
    """Return the model cache of an engine process, with no model loaded yet."""
    if name != "faster_whisper":
        return ModelCache(dict.fromkeys(settings.WHISPER_MODELS, ""), registry.engine_loader(name))
    from transcription.speech.engines import models

    compute_type = settings.COMPUTE_TYPE or ("int8" if device == "cpu" else "float16")
    return ModelCache(
        settings.WHISPER_MODELS,
        models.loader(device=device, compute_type=settings.COMPUTE_TYPE, max_batch=settings.ENGINE_BATCH),
        memory_of=lambda source: models.megabytes(source, compute_type=compute_type),
        memory_mb=settings.ENGINE_MEMORY_MB,
    )


def _has_whisper() -> bool:
    """Tell whether the standard model is available. Downloads it if possible; logs a warning if not."""
    from transcription.speech.engines import models

    source = settings.WHISPER_MODELS["standard"]
    if models.is_local(source):
        return True
    reason = "and the hub does not answer"
    if models.is_on_hub(source):
        try:
            models.folder_of(source)
        except EngineUnavailable as error:
            logger.warning("%s", error.message)
            reason = "and its download failed"
        else:
            return True
    logger.warning(
        "THE WHISPER MODEL %s IS NOT ON THIS MACHINE, %s: speech is recognised by PocketSphinx, for development only. "
        "Set VOXSITE_WHISPER_STANDARD to a model's folder, or let this machine reach huggingface.co.",
        source,
        reason,
    )
    return False
