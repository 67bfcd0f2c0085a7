from __future__ import annotations

import time

import pytest

from tests.transcription.speech.engines.recognising import OPTIONS
from transcription.speech import errors
from transcription.speech.engines import remote
from transcription.speech.options import TranscriptionOptions


def test_least_busy_process_is_asked_and_equals_are_spread(monkeypatch):
    waiting = {"ipc:///a": 5, "ipc:///b": 0, "ipc:///c": None, "ipc:///d": 0}
    asked = set()
    for job in range(20):
        engine = remote.RemoteEngine(list(waiting), job_id=str(job))
        with monkeypatch.context() as patch:
            answers = {name: None if count is None else {"waiting": count} for name, count in waiting.items()}
            patch.setattr(remote, "health", lambda address, seconds, answers=answers: answers[address])
            engine._sort_by_load()
        asked.add(engine._addresses[0])
        assert engine._addresses[2:] == ["ipc:///a", "ipc:///c"]
    assert asked == {"ipc:///b", "ipc:///d"}


def test_nobody_there_is_said_at_the_deadline(address, clip):
    engine = remote.RemoteEngine(address, timeout_seconds=0.3)
    begun = time.monotonic()
    with pytest.raises(errors.EngineUnavailable):
        engine.recognise([clip], options=OPTIONS)
    with pytest.raises(errors.EngineUnavailable):
        _ = engine.name
    assert time.monotonic() - begun < 3
    engine.close()


def test_recording_keeps_to_the_language_of_its_first_clear_clip(small_server, clip):
    """The first clip is unclear, the second clear. The third is detected in another language and sent again."""
    by_length = {1000: ("nn", 0.2), 2000: ("en", 0.9), 3000: ("de", 0.95), 4000: ("en", 0.8)}

    def answer(message, frames):
        told = message["options"]["language"]
        language, sure = by_length[len(frames[0]) // 4]
        word = f"{language}-in-{told}"
        return {"kind": "result", "recognition": [told or language, None if told else sure, [[word, 0, 10, 0.5]]]}

    engine = small_server(answer)
    clips = [clip[:1000], clip[:2000], clip[:3000], clip[:4000], clip[:2000], clip[:3000]]
    results = list(engine.stream(iter(clips), options=OPTIONS))
    assert {(one.language, one.language_probability) for one in results} == {("en", 0.9)}
    texts = [one.words[0].text for one in results]
    assert texts[0] == "nn-in-en"
    assert texts[2] == "de-in-en"
    assert texts[5] == "de-in-en"
    assert texts[1] in ("en-in-None", "en-in-en")

    mixed = TranscriptionOptions(mixed_languages=True)
    assert [one.language for one in engine.stream(iter(clips), options=mixed)] == ["nn", "en", "de", "en", "en", "de"]


def test_clips_are_taken_only_a_few_ahead(small_server, clip):
    taken = []

    def clips():
        for number in range(20):
            taken.append(number)
            yield clip

    def answer(message, frames):
        time.sleep(0.02)
        return {"kind": "result", "recognition": ["en", 0.9, [["yes", 0, 10, 0.5]]]}

    ahead = []
    for done, _ in enumerate(small_server(answer).stream(clips(), options=OPTIONS)):
        ahead.append(len(taken) - done)
    assert len(ahead) == 20
    assert max(ahead) <= 6
