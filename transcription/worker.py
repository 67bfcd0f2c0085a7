"""RQ's worker with its libraries loaded: they are imported once and not in every child that it forks for a task.

Importing is harmless before a fork; loading a model is not, and happens in the child (the detector of speech) or in the
engine process. Saves a tenth of a second of every job.
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
    "transcription.speech.diarizers.voices",
    "transcription.speech.vad",
)


# glibc, malloc.h. Larger blocks are mapped apart, and so given back.
_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 256 << 10


def map_large_blocks_apart() -> bool:
    """Have windows of sound given back when they are done; tell whether that could be arranged. glibc only.

    Left alone, glibc soon takes large blocks from the heap, where the little that is kept of each voice pins them: a
    child grew by up to 1.6 GB on three hours of audio. By a call, since glibc reads its environment before we run.
    """
    libc = ctypes.CDLL(None)
    return hasattr(libc, "mallopt") and libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1


class Worker(RqWorker):
    """Forks a child per task, as RQ does."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        map_large_blocks_apart()
        for name in LIBRARIES:
            importlib.import_module(name)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork the child, which decodes by way of the zygote of this process."""
        children.ensure_zygote()
        super().fork_work_horse(job, queue)
