"""Loads Django, our pages and the workers' networks once in the supervisor, so that its forks have them.

To load Django takes 2 s of a core and 90 MB, and the networks as much again. Each process did so itself before. A fork
shares what nobody changes with the supervisor.
"""

import gc
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import django
from django.core.exceptions import ImproperlyConfigured

from voxsite.serve.config import StartError

logger = logging.getLogger(__name__)

# What is loaded for all: our pages, and a module whose `load()` loads what workers need.
PAGES = "voxsite.urls"
WORKER = "transcription.worker"
# What is loaded for several web processes.
WEB = "voxsite.asgi"


def is_possible() -> bool:
    """Tell whether a fork may go on without exec. On macOS, system libraries break in such a fork."""
    return sys.platform == "linux"


def load() -> None:
    """Set Django up, with the settings from the environment as it is now. Raises StartError for a bad setting.

    It opens no connection and starts no thread, which a fork would miss. What workers need and cannot be loaded stops
    nothing here: they try again, and say what is missing.
    """
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise StartError(str(error)) from error
    # By name, because this module is imported before there are settings, which they need.
    importlib.import_module(PAGES)
    with _one_thread_of_numpy():
        try:
            importlib.import_module(WORKER).load()
        except Exception:  # web, chat and money need none of it
            logger.exception("What workers share was not loaded. Each will try for itself.")
    _freeze()


def load_web() -> None:
    """Load what several web processes share, before they are forked. As `load`, without what workers need."""
    # It sets Django up.
    importlib.import_module(WEB)
    _freeze()


def _freeze() -> None:
    # A collection writes into each object that it looks at, and so would copy what is shared.
    gc.collect()
    gc.freeze()


@contextmanager
def _one_thread_of_numpy() -> Iterator[None]:
    """Let NumPy, which reads it when it is loaded, have no threads, and leave the environment as it was.

    CTranslate2 and PyTorch, whose threads matter to engines, read theirs in the process that loads them.
    """
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
