"""Loads Django once in the supervisor, so that the processes that it forks have it.

To load it takes 2 s of a core and 90 MB. Each process did so itself before. A fork shares what nobody changes with the
supervisor.
"""

import gc
import sys

import django
from django.core.exceptions import ImproperlyConfigured

from voxsite.serve.config import StartError


def is_possible() -> bool:
    """Tell whether a fork may go on without exec. On macOS, system libraries break in such a fork."""
    return sys.platform == "linux"


def load() -> None:
    """Set Django up, with the settings from the environment as it is now. Raises StartError for a bad setting.

    It starts no thread and opens no connection, which a fork could not use. Nor does it load NumPy: how many threads it
    and its like use is read from the environment when they are loaded, and differs by program.
    """
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise StartError(str(error)) from error
    # A collection writes into each object that it looks at, and so would copy what is shared.
    gc.collect()
    gc.freeze()
