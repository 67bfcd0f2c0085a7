"""RQ's worker, which loads libraries and small networks once, and not in each child that it forks for a task.

That saves 0.1 s of processor time for each job, and more for each that tells speakers apart. The networks may be loaded
before a fork, because they run in the thread that asks them (decision 41). The engine's models may not: CTranslate2
hangs after a fork.
"""

import ctypes
import importlib
import logging
import time
from typing import Any

from django.conf import settings
from rq.job import Job
from rq.queue import Queue

from accounts import tracing
from transcription import recognition
from transcription.jobs import shards
from transcription.jobs.base_worker import BaseWorker
from transcription.speech import children, confinement, vad
from transcription.speech.diarizers import networks
from transcription.speech.errors import EngineUnavailable

logger = logging.getLogger(__name__)

LIBRARIES = (
    "numpy",
    "numpy.ma",  # by numpy.percentile, which the diarizer calls: 10 ms of processor time
    "onnxruntime",
    "zmq",
    "transcription.jobs.work",
    "transcription.speech.decode",
    "transcription.speech.diarizers.clustering",
    "transcription.speech.diarizers.neural",
    "transcription.speech.diarizers.timeline",
    "transcription.speech.diarizers.voices",
    "transcription.speech.vad",
)


# From glibc's malloc.h. Blocks of at least LARGE_BYTES get a mapping of their own, which is returned when freed.
_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 256 << 10


def map_large_blocks_apart() -> bool:
    """Make glibc return the memory of audio windows when they are freed. Returns False without glibc.

    By default glibc soon takes large blocks from the heap, where small blocks that are kept (statistics of voices)
    prevent their return: a child grew by up to 1.6 GB on three hours of audio. An environment variable cannot be used,
    since glibc reads it before this process runs.
    """
    libc = ctypes.CDLL(None)
    return hasattr(libc, "mallopt") and libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1


def load() -> None:
    """Load libraries and small networks for all children. They try again, and say what is missing, where it fails."""
    for name in LIBRARIES:
        importlib.import_module(name)
    vad.load()
    if recognition.diarizer_name() == recognition.DEFAULT_DIARIZER:
        try:
            networks.load()
        except EngineUnavailable as error:
            logger.warning("%s", error.message)
    # What onnxruntime needed to read the networks: 15 MB.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


class Worker(BaseWorker):
    """Forks a child for each task, as RQ does."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs["job_monitoring_interval"] = settings.HEARTBEAT_SECONDS
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        if missing := confinement.missing_layers():
            logger.warning("this kernel offers no %s: decoders are confined by fewer layers", " and no ".join(missing))
        map_large_blocks_apart()
        load()
        tracing.prepare()

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Write RQ's heartbeat, and that of all workers, which a restart of Redis does not lose for long."""
        super().heartbeat(*args, **kwargs)
        self.connection.set(settings.HEARTBEAT_KEYS["worker"], time.time())

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork the child. It uses the zygote of this process to decode."""
        children.ensure_zygote()
        super().fork_work_horse(job, queue)

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Do a task in the child, and then the next ones of a batch for a moment."""
        started = time.monotonic()
        is_done = super().perform_job(job, queue)
        # After a task that failed, the next ones get a child with a connection of its own.
        if is_done:
            shards.go_on(queue=queue.name, started=started)
        return is_done
