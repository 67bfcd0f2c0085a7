from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zmq

from transcription import recognition
from transcription.management.commands.engine import make_model_cache
from transcription.speech.engines import protocol
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
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
        assert client._addresses == ["ipc:///one", "ipc:///two"]


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
            begun.add(0, np.zeros(32_000, dtype=np.float32))
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
