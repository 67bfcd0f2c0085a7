"""RQ's worker, with libraries imported once instead of in each child that it forks for a task.

That saves 0.1 s for each job. Importing libraries before a fork is safe. Loading a model before a fork is not: the
voice activity detector is loaded in the child, and all other models in the engine process.
"""

import ctypes
import importlib

from rq.job import Job
from rq.queue import Queue
from rq.worker import Worker as RqWorker

from transcription.speech import children

LIBRARIES = (
    "numpy",
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


class Worker(RqWorker):
    """Forks a child for each task, as RQ does."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        map_large_blocks_apart()
        for name in LIBRARIES:
            importlib.import_module(name)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork the child. It uses the zygote of this process to decode."""
        children.ensure_zygote()
        super().fork_work_horse(job, queue)
