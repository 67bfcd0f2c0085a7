"""Runs an engine process, which loads the speech models once and recognises clips of all jobs."""

import logging
import os
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts import redis_connections
from transcription import recognition
from transcription.speech import registry
from transcription.speech.diarizers import service as diarizing
from transcription.speech.diarizers import spool
from transcription.speech.engines import server
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.engines.curve import Listener
from transcription.speech.engines.leases import Announcer, Registry
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import SerialService
from transcription.speech.errors import SpeechError

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
        try:
            device = settings.ENGINE_DEVICES[number - 1]
            recogniser = Recogniser(make_model_cache(settings.ENGINE, device=device), max_batch=settings.ENGINE_BATCH)
            remote = listener(number=number)
            with announced(remote, number=number):
                server.serve(
                    recogniser,
                    *services(device=device),
                    address=settings.ENGINE_SOCKETS[number - 1],
                    listener=remote,
                )
        except SpeechError as error:
            raise CommandError(error.message) from error


def listener(*, number: int) -> Listener | None:
    """Return where this engine process listens for other hosts: the first at the port of the settings, others above it.

    Raises EngineUnavailable if it should listen and has no keys.
    """
    if not settings.ENGINE_LISTEN:
        return None
    host, _, port = settings.ENGINE_LISTEN.rpartition(":")
    return Listener(
        f"{host}:{int(port) + number - 1}",
        secret_key=settings.ENGINE_SECRET_KEY,
        client_keys=tuple(settings.ENGINE_CLIENTS),
    )


@contextmanager
def announced(remote: Listener | None, *, number: int) -> Iterator[None]:
    """Tell the hosts that share this Redis of this engine process, if it listens for them."""
    if remote is None:
        yield
        return
    announcer = Announcer(
        Registry(redis_connections.asking_client()),
        socket=settings.ENGINE_SOCKETS[number - 1],
        address=f"tcp://{remote.public_key}@{settings.ENGINE_HOST}:{remote.address.rpartition(':')[2]}",
        device=settings.ENGINE_DEVICES[number - 1],
    )
    announcer.start()
    try:
        yield
    finally:
        announcer.stop()


def services(*, device: str) -> list[SerialService]:
    """Return the services of an engine process besides recognition."""
    if settings.DIARIZER != "pyannote":
        return []
    recordings = diarizing.Recordings(folder=settings.DATA_DIR, max_seconds=settings.PYANNOTE_MAX_SECONDS)
    make_handler = diarizing.pyannote_handler(
        settings.PYANNOTE,
        recordings=recordings,
        token=settings.HF_TOKEN or None,
        device=None if device == "auto" else device,
    )
    return [SerialService(diarizing.KIND, make_handler, max_frame_bytes=spool.PART_BYTES, at_once=recordings.take)]


def make_model_cache(name: str, *, device: str) -> ModelCache:
    """Return the model cache of an engine process, with no model loaded yet. name: of an engine, or "auto".

    With "auto" the first load finds out what there is, which may take a download. The process already answers then.
    """
    if name not in {"auto", WHISPER}:
        return ModelCache(dict.fromkeys(settings.WHISPER_MODELS, ""), registry.engine_loader(name))
    if name == "auto":
        # At once, because the libraries below take seconds to import and the last run's choice may not hold.
        recognition.remember_choice(Choice(WHISPER, is_final=False))
    from transcription.speech.engines import automatic, models

    compute_type = settings.COMPUTE_TYPE or ("int8" if device == "cpu" else "float16")
    how: dict[str, Any] = {
        "device": device,
        "compute_type": settings.COMPUTE_TYPE,
        "max_batch": settings.ENGINE_BATCH,
    }
    if name == "auto":
        models_dir = settings.MODELS_DIR if settings.MODEL_PACKAGES else None
        loader = automatic.AutomaticLoader(models_dir=models_dir, tell=tell, **how)
        return ModelCache(
            settings.WHISPER_MODELS,
            loader.load,
            memory_of=lambda source: loader.megabytes(source, compute_type=compute_type),
            memory_mb=settings.ENGINE_MEMORY_MB,
            progress=loader.progress,
        )
    return ModelCache(
        settings.WHISPER_MODELS,
        models.loader(**how),
        memory_of=lambda source: models.megabytes(source, compute_type=compute_type),
        memory_mb=settings.ENGINE_MEMORY_MB,
    )


def tell(made: Choice) -> None:
    """Tell the other processes what "auto" came to, and the operator if it is the last resort."""
    recognition.remember_choice(made)
    if made.engine == LAST_RESORT:
        logger.warning(
            "NO WHISPER MODEL: speech is recognised by PocketSphinx, for development only. It knows English alone and "
            "errs often. %s Restart to look again, or set VOXSITE_WHISPER_STANDARD to a model's folder.",
            made.reason,
        )
