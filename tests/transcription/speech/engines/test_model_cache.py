from __future__ import annotations

import threading

from tests.transcription.speech.fakes import FakeBatchEngine
from transcription.speech.engines.model_cache import ModelCache


def test_least_recently_used_model_makes_room():
    loaded = []

    def load(source):
        loaded.append(source)
        return FakeBatchEngine()

    sources = {"a": "one", "b": "two", "c": "three", "same-as-a": "one"}
    models = ModelCache(sources, load, memory_of=lambda _: 400, memory_mb=1000)
    for model in ("a", "b", "same-as-a", "c"):
        models.get(model)
    assert loaded == ["one", "two", "three"]
    states = {model: shown["state"] for model, shown in models.health().items()}
    assert states == {"a": "loaded", "b": "not loaded", "c": "loaded", "same-as-a": "loaded"}
    assert models.describe("b") is not None
    assert models.evict_others("c")
    assert not models.evict_others("c")


def test_model_in_use_is_not_put_away():
    models = ModelCache({"a": "one", "b": "two"}, lambda _: FakeBatchEngine(), memory_of=lambda _: 400, memory_mb=500)
    loading = threading.Thread(target=models.get, args=("b",))
    with models.acquire("a"):
        loading.start()
        loading.join(0.2)
        assert loading.is_alive()
        assert models.health()["a"]["state"] == "loaded"
    loading.join(60)
    assert models.health()["a"]["state"] == "not loaded"
    assert models.health()["b"]["state"] == "loaded"


def test_health_tells_what_a_long_load_is_doing():
    begun, may_end = threading.Event(), threading.Event()

    def load(source):
        begun.set()
        assert may_end.wait(60)
        return FakeBatchEngine()

    models = ModelCache({"a": "one"}, load, progress=lambda: "downloading: 37 of 133 MB")
    assert models.health()["a"]["state"] == "not loaded"
    loading = threading.Thread(target=models.get, args=("a",))
    loading.start()
    assert begun.wait(60)
    state = models.health()["a"]
    may_end.set()
    loading.join(60)
    assert (state["state"], state["message"]) == ("loading", "downloading: 37 of 133 MB")
    assert (models.health()["a"]["state"], models.health()["a"]["message"]) == ("loaded", "")


def test_health_has_the_figures_of_loaded_engines_only():
    models = ModelCache({"a": "one", "b": "two"}, lambda _: FakeBatchEngine())
    list(models.get("a").recognise_batch([1, 2], []))
    assert models.health()["a"]["batches"] == 1
    assert "batches" not in models.health()["b"]
