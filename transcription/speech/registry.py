"""Engines and diarizers by short name. Their modules are imported on first use, since some load large libraries."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from transcription.speech.errors import UnknownDiarizer, UnknownEngine

# short name -> "module:factory". The factory of a diarizer takes no arguments; that of an engine takes those that its
# class documents.
ENGINES: dict[str, str] = {
    "faster_whisper": "transcription.speech.engines.faster_whisper:FasterWhisperEngine",
    "pocketsphinx": "transcription.speech.engines.pocketsphinx:PocketSphinxEngine",
}
DIARIZERS: dict[str, str] = {
    "clustering": "transcription.speech.diarizers.clustering:ClusteringDiarizer",
    "neural": "transcription.speech.diarizers.neural:NeuralDiarizer",
}


def load_engine(name: str, /, **settings: Any) -> Any:
    """Return a new engine of that name (`engines.base.Engine`) with its model loaded. Raises UnknownEngine."""
    if name not in ENGINES:
        raise UnknownEngine(f"There is no speech engine named {name!r}.", known=sorted(ENGINES))
    return _make(ENGINES[name], **settings)


def engine_loader(name: str, /, **settings: Any) -> Callable[[str], Any]:
    """Return a function that loads the engine of that name with a given model, "" for an engine without models."""

    def load(model: str) -> Any:
        return load_engine(name, **(settings | {"model": model} if model else settings))

    return load


def load_diarizer(name: str) -> Any:
    """Return a new diarizer of that name (`diarizers.base.Diarizer`). Raises UnknownDiarizer."""
    if name not in DIARIZERS:
        raise UnknownDiarizer(f"There is no diarizer named {name!r}.", known=sorted(DIARIZERS))
    return _make(DIARIZERS[name])


def _make(dotted: str, /, **settings: Any) -> Any:
    module, _, factory = dotted.partition(":")
    return getattr(import_module(module), factory)(**settings)
