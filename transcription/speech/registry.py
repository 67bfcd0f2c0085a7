"""Short names of engines and diarizers, imported on first use so that nobody loads what nobody asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from transcription.speech.errors import UnknownDiarizer, UnknownEngine

# short name -> "module:factory", a callable without arguments
ENGINES: dict[str, str] = {
    "pocketsphinx": "transcription.speech.engines.pocketsphinx:PocketSphinxEngine",
}
DIARIZERS: dict[str, str] = {
    "clustering": "transcription.speech.diarizers.clustering:ClusteringDiarizer",
}


def load_engine(name: str) -> Any:
    """Make the engine of that name, an `engines.base.Engine`. Loads its model; raises UnknownEngine."""
    if name not in ENGINES:
        raise UnknownEngine(f"There is no speech engine named {name!r}.", known=sorted(ENGINES))
    return _make(ENGINES[name])


def load_diarizer(name: str) -> Any:
    """Make the diarizer of that name, a `diarizers.base.Diarizer`. Raises UnknownDiarizer."""
    if name not in DIARIZERS:
        raise UnknownDiarizer(f"There is no diarizer named {name!r}.", known=sorted(DIARIZERS))
    return _make(DIARIZERS[name])


def _make(dotted: str) -> Any:
    module, _, factory = dotted.partition(":")
    return getattr(import_module(module), factory)()
