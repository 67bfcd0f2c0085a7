"""The models of an engine process: loaded on first use, least recently used evicted first."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from transcription.speech.engines import protocol
from transcription.speech.engines.base import BatchEngine, Engine, Recognition, check_languages
from transcription.speech.errors import EngineUnavailable, SpeechError
from transcription.speech.options import TranscriptionOptions

logger = logging.getLogger(__name__)

# A model that did not load is tried again after this time: its files or the network may be back.
RETRY_SECONDS = 60.0


class ModelCache:
    """An LRU cache of engines, by the model names that workers use.

    sources: model name -> argument for `load`. Names with the same source share one model. The first is the default.
    load: returns an engine, or raises EngineUnavailable. memory_of: megabytes that the model of a source needs.
    memory_mb: limit for all models together, 0 for no limit. A single model is loaded even if it exceeds the limit.
    progress: what a load that takes long is doing now, such as a download; "" for nothing worth telling.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        load: Callable[[str], Engine | BatchEngine],
        *,
        memory_of: Callable[[str], int] = lambda _: 0,
        memory_mb: int = 0,
        progress: Callable[[], str] = lambda: "",
    ) -> None:
        self._sources = dict(sources)
        self._load, self._memory_of, self._memory_mb = load, memory_of, memory_mb
        self._progress = progress
        self._engines: OrderedDict[str, BatchEngine] = OrderedDict()  # by source, least recently used first
        self._megabytes: dict[str, int] = {}
        self._descriptions: dict[str, dict[str, Any]] = {}  # by source; kept when a model is evicted
        self._failures: dict[str, tuple[float, SpeechError]] = {}
        self._in_use: dict[str, int] = {}
        self._loading = threading.Lock()
        self._loading_source: str | None = None
        self._changed = threading.Condition()
        self._waiting_loads = 0

    @property
    def default(self) -> str:
        return next(iter(self._sources))

    def has_model(self, model: str) -> bool:
        return model in self._sources

    def get(self, model: str) -> BatchEngine:
        """Return the engine. Loads it if needed, which may take minutes. Raises EngineUnavailable."""
        source = self._sources[model]
        with self._changed:
            if source in self._engines:
                self._engines.move_to_end(source)
                return self._engines[source]
            failed_at, failure = self._failures.get(source, (0.0, None))
            if failure is not None and time.monotonic() - failed_at < RETRY_SECONDS:
                raise failure
            self._waiting_loads += 1
        try:
            with self._loading:
                return self._load_once(source, model)
        finally:
            with self._changed:
                self._waiting_loads -= 1
                self._changed.notify_all()

    @contextmanager
    def acquire(self, model: str) -> Iterator[BatchEngine]:
        """Yield the engine, and keep it from being evicted until the end of the `with` block."""
        source = self._sources[model]
        while True:
            engine = self.get(model)
            with self._changed:
                # A waiting load needs a moment in which no model is in use, so it comes first.
                self._changed.wait_for(lambda: not self._waiting_loads)
                if self._engines.get(source) is engine:
                    self._in_use[source] = self._in_use.get(source, 0) + 1
                    break
        try:
            yield engine
        finally:
            with self._changed:
                self._in_use[source] -= 1
                self._changed.notify_all()

    def evict_others(self, model: str) -> bool:
        """Evict all models except this one, because memory ran out. Tells whether any was evicted."""
        source = self._sources[model]
        with self._changed:
            others = [one for one in self._engines if one != source and not self._in_use.get(one)]
            for other in others:
                del self._engines[other], self._megabytes[other]
        return bool(others)

    def describe(self, model: str) -> dict[str, Any] | None:
        """Return the description of the model (`protocol.description`), None before it was loaded once."""
        return self._descriptions.get(self._sources[model])

    def health(self) -> dict[str, Any]:
        """Return {name: {"source", "state", "message", "megabytes"}}, with the figures of each loaded engine.

        state: "loaded", "loading", "failed" or "not loaded". message: the failure, or the progress of the load.
        """
        shown = {}
        for model, source in self._sources.items():
            failure = self._failures.get(source)
            engine = self._engines.get(source)
            if engine is not None:
                state, message = "loaded", ""
            elif source == self._loading_source:
                state, message = "loading", self._progress()
            else:
                state, message = ("failed", failure[1].message) if failure else ("not loaded", "")
            shown[model] = {
                "source": source,
                "state": state,
                "message": message,
                "megabytes": self._megabytes.get(source, 0),
                **({} if engine is None else engine.figures()),
            }
        return shown

    def _load_once(self, source: str, model: str) -> BatchEngine:
        with self._changed:
            if source in self._engines:
                return self._engines[source]
            needed = self._memory_of(source)
            self._evict_until_it_fits(needed)
        started = time.monotonic()
        self._loading_source = source
        try:
            made = self._load(source)
        except Exception as error:  # every library that loads a model has its own errors
            failure = error if isinstance(error, SpeechError) else EngineUnavailable(f"The model {model} is broken.")
            logger.exception("the model %s (%s) did not load", model, source)
            self._failures[source] = (time.monotonic(), failure)
            raise failure from error
        finally:
            self._loading_source = None
        engine = made if isinstance(made, BatchEngine) else UnbatchedEngine(made)
        with self._changed:
            self._failures.pop(source, None)
            self._engines[source] = engine
            self._megabytes[source] = self._memory_of(source)  # its size is only known now, if it was downloaded
            self._descriptions[source] = protocol.description(engine, max_batch=engine.max_batch)
        logger.info("%s is loaded (%s, %.1f s)", engine.name, model, time.monotonic() - started)
        return engine

    def _evict_until_it_fits(self, needed: int) -> None:
        """Evict models until the new one fits, and wait for those in use. The caller holds the lock."""
        while self._memory_mb and self._engines and sum(self._megabytes.values()) + needed > self._memory_mb:
            idle = next((one for one in self._engines if not self._in_use.get(one)), None)
            if idle is None:
                self._changed.wait()
                continue
            logger.info("evicting %s to free memory", idle)
            del self._engines[idle], self._megabytes[idle]


class UnbatchedEngine:
    """Adapts an engine without batches to BatchEngine, with batches of one clip."""

    max_batch = 1

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.languages, self.notes = engine.name, engine.languages, engine.notes
        self.max_clip_ms, self.pause_ms, self.packed_ms = engine.max_clip_ms, engine.pause_ms, engine.packed_ms
        self.supported_options = engine.supported_options

    def prepare(self, clip: Any) -> Any:
        return clip

    def bucket(self, prepared: Any, options: TranscriptionOptions) -> int:
        check_languages(options, languages=self.languages, engine=self.name)
        return 0

    def figures(self) -> dict[str, Any]:
        return {}

    def recognise_batch(
        self, prepared: Sequence[Any], options: Sequence[TranscriptionOptions]
    ) -> Iterator[tuple[int, Recognition]]:
        for index, (clip, one) in enumerate(zip(prepared, options, strict=True)):
            yield index, self._engine.recognise([clip], options=one)[0]
