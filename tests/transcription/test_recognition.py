from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zmq

from accounts import redis_connections
from transcription import recognition
from transcription.management.commands.engine import make_model_cache
from transcription.speech.engines import curve, protocol
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.engines.leases import Registry, lease_of
from transcription.speech.errors import EngineUnavailable
from transcription.speech.options import TranscriptionOptions


@pytest.fixture
def auto(settings, tmp_path):
    settings.ENGINE = "auto"
    settings.ENGINE_CHOICE_FILE = tmp_path / "engine.json"
    return settings


def test_auto_is_the_fallback_until_the_engine_process_chose(auto):
    assert (recognition.engine_name(), recognition.is_fallback()) == ("pocketsphinx", True)
    assert recognition.languages() == {"en"}
    assert recognition.language_names() == {"en": "English"}
    recognition.remember_choice(Choice(WHISPER))
    assert (recognition.engine_name(), recognition.is_fallback()) == ("faster_whisper", False)
    assert len(recognition.languages()) == 99
    recognition.remember_choice(Choice(LAST_RESORT))
    os.utime(auto.ENGINE_CHOICE_FILE, ns=(1, 1))  # a coarse clock may give both the same time
    assert recognition.is_fallback()
    assert [path.name for path in auto.ENGINE_CHOICE_FILE.parent.iterdir()] == ["engine.json"]


def test_download_is_told_in_plain_words_and_offers_what_is_coming(auto):
    recognition.remember_choice(Choice(WHISPER, is_final=False, received_bytes=37_900_000, total_bytes=133_343_666))
    assert recognition.waiting_note() == (
        "The speech model is being downloaded (37 of 133 MB). Recordings wait for it."
    )
    assert "es" in recognition.languages()
    assert not recognition.is_fallback()


def test_nothing_waits_for_an_engine_process_that_does_not_answer(auto):
    auto.ENGINE_SOCKETS = [f"ipc://{auto.ENGINE_CHOICE_FILE.parent}/nobody.sock"]
    recognition.remember_choice(Choice(WHISPER, is_final=False))
    assert not recognition.is_being_prepared(timeout_seconds=0.2)


def test_model_that_stands_in_is_the_one_that_is_named(auto):
    auto.WHISPER_MODELS = {"standard": "large-v3-turbo", "premium": "large-v3"}
    recognition.remember_choice(Choice(WHISPER, labels={"large-v3-turbo": "base"}))
    engines = {name: model.engine for name, model in recognition.capabilities().items()}
    assert engines == {"standard": "faster-whisper/base", "premium": "faster-whisper/large-v3"}


@pytest.mark.parametrize("content", ["", "[]", '{"engine": "whistle"}', "\0"])
def test_broken_choice_is_the_fallback(auto, content):
    auto.ENGINE_CHOICE_FILE.write_text(content)
    assert recognition.is_fallback()


def test_engine_chosen_by_name_needs_no_file(settings, tmp_path):
    settings.ENGINE_CHOICE_FILE = tmp_path / "none"
    settings.ENGINE = "faster_whisper"
    assert "es" in recognition.languages()
    make_model_cache("faster_whisper", device="cpu")
    assert not settings.ENGINE_CHOICE_FILE.exists()


def test_client_is_told_whose_clips_it_sends(settings):
    settings.ENGINE_SOCKETS = ["ipc:///one", "ipc:///two"]
    with recognition.engine(model="premium", job_id="7", priority="bulk") as client:
        assert client._request_header() == {"kind": "recognise", "job": "7", "priority": "bulk", "model": "premium"}
        assert [member.address for member in client._roster()] == ["ipc:///one", "ipc:///two"]


def test_canceled_diarization_is_taken_back_from_the_engine_process(settings, tmp_path):
    """Otherwise the model would finish a canceled job, and other jobs would wait for it."""
    address = f"ipc://{tmp_path}/engine.sock"
    settings.DIARIZER, settings.ENGINE_SOCKETS = "pyannote", [address]
    is_canceled = threading.Event()

    class Canceled(Exception):
        pass

    def should_stop():
        if is_canceled.is_set():
            raise Canceled
        return False

    def wait_for(kind):
        while True:
            assert engine.poll(10_000)
            message = protocol.unpack(engine.recv_multipart()[1])
            if message["kind"] == kind:
                return message

    def work():
        with recognition.diarizer(job_id="7", should_stop=should_stop) as diarizer:
            begun = diarizer.begin(options=TranscriptionOptions())
            begun.add(0, np.ones(32_000, dtype=np.float32))
            begun.turns()

    with zmq.Context() as context, context.socket(zmq.ROUTER) as engine:
        engine.bind(address)
        with ThreadPoolExecutor(1) as worker:
            running = worker.submit(work)
            asked = wait_for("diarize")
            is_canceled.set()
            assert wait_for("cancel")["ids"] == [asked["id"]]
            with pytest.raises(Canceled):
                running.result(10)
    assert not list(tmp_path.glob("recording-*"))


def test_name_of_another_api_can_what_the_model_behind_it_can(settings):
    settings.MODEL_NAMES = {"whisper-1": ("premium", None), "nova-*": ("standard", None)}
    assert recognition.capabilities_of("whisper-1") == recognition.capabilities()["premium"]
    assert recognition.capabilities_of("nova-3") == recognition.capabilities()["standard"]
    assert list(recognition.listed_capabilities()) == ["standard", "premium", "whisper-1"]
    assert list(recognition.capabilities()) == ["standard", "premium"]


def test_host_without_engines_uses_those_of_other_hosts(settings):
    keys = curve.make()
    address = f"tcp://{keys.public}@gpu:5590"
    settings.ENGINE_SOCKETS, settings.ENGINE_ADDRESSES = [], [address]
    settings.ENGINE_CLIENT_SECRET_KEY = keys.secret
    with recognition.engine() as client:
        assert [member.address for member in client._roster()] == [address]
    settings.ENGINE_ADDRESSES = []
    assert recognition.engine_states() == {}
    with pytest.raises(EngineUnavailable), recognition.engine():
        pass


@pytest.fixture
def fleet(settings, tmp_path):
    """A host that trusts one key, and a function that announces an engine process of that key."""
    keys = curve.make()
    settings.ENGINE_PUBLIC_KEYS, settings.ENGINE_CLIENT_SECRET_KEY = [keys.public], curve.make().secret
    settings.ENGINE_SOCKETS = [f"ipc://{tmp_path}/engine.sock"]
    registry = Registry(redis_connections.client())
    names = []

    def announce(instance, *, waiting=0, models=("standard",), services=(), key=keys.public, **states):
        report = {
            "instance": instance,
            "state": "ready",
            "waiting": waiting,
            "engine": {"max_batch": 32},
            "models": {name: {"state": states.get(name, "loaded")} for name in [*models, *states]},
            "services": {kind: {} for kind in services},
        }
        registry.renew(lease_of(report, address=f"tcp://{key}@{instance}:5590", device="cuda:0"), report)
        names.append(instance)

    yield announce
    for name in names:
        registry.end(name)


def hosts_of(members):
    return [member.address.rpartition("@")[2].partition(":")[0] for member in members]


def test_least_busy_engine_of_the_fleet_that_has_the_model_comes_first(fleet, settings):
    settings.ENGINE_SOCKETS = []
    fleet("busy", waiting=100)
    fleet("other", models=["premium"])
    fleet("idle", services=["diarize"])
    fleet("false", key=curve.make().public)
    assert hosts_of(recognition.roster(model="standard", job_id="1")()) == ["idle", "busy"]
    assert hosts_of(recognition.roster(model="premium", job_id="1")()) == ["other"]
    assert hosts_of(recognition.roster(kind="diarize", job_id="1")()) == ["idle"]
    assert recognition.engine_states(timeout_seconds=0.1) == {
        f"tcp://{settings.ENGINE_PUBLIC_KEYS[0]}@{name}:5590": "ready" for name in ("busy", "idle", "other")
    }


def test_equally_busy_engines_share_the_jobs(fleet, settings):
    settings.ENGINE_SOCKETS = []
    fleet("one")
    fleet("two", waiting=3)
    first = {hosts_of(recognition.roster(model="standard", job_id=str(job))())[0] for job in range(20)}
    assert first == {"one", "two"}


def test_engine_of_this_host_is_used_by_its_socket(fleet, settings):
    [address] = settings.ENGINE_SOCKETS
    path = protocol.socket_path(address)
    path.with_name(f"{path.name}.lock").write_text("here")
    fleet("here", waiting=40)
    fleet("there")
    here, there = sorted(recognition.roster(model="standard")(), key=lambda one: one.address)
    assert (here.address, here.waiting, here.batch) == (address, 40, 32)
    assert hosts_of([there]) == ["there"]


def test_engine_of_this_host_whose_model_did_not_load_is_used_only_if_none_has_it(fleet, settings):
    [address] = settings.ENGINE_SOCKETS
    path = protocol.socket_path(address)
    path.with_name(f"{path.name}.lock").write_text("here")
    fleet("here", premium="failed")
    assert [one.address for one in recognition.roster(model="premium")()] == [address]
    fleet("there", models=["premium"])
    assert hosts_of(recognition.roster(model="premium")()) == ["there"]


def test_engines_that_have_loaded_the_model_come_first(fleet, settings):
    settings.ENGINE_SOCKETS = []
    fleet("idle", premium="not loaded")
    fleet("busy", waiting=100, models=["premium"])
    members = recognition.roster(model="premium")()
    assert (hosts_of(members), [one.has_model for one in members]) == (["busy", "idle"], [True, False])


def test_known_engines_are_used_on_while_redis_does_not_answer(fleet, settings):
    settings.ENGINE_SOCKETS = []
    fleet("one")
    members = recognition.roster(model="standard")
    assert hosts_of(members()) == ["one"]
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    redis_connections.forget()
    try:
        assert hosts_of(members()) == ["one"]
    finally:
        redis_connections.forget()


def test_host_that_trusts_no_key_does_not_ask_redis(fleet, settings):
    fleet("one")
    settings.ENGINE_PUBLIC_KEYS = []
    assert [member.address for member in recognition.roster()()] == settings.ENGINE_SOCKETS
