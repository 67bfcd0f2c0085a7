from __future__ import annotations

import time

import pytest

from tests.transcription.speech.engines.recognising import OPTIONS
from transcription.speech import errors
from transcription.speech.engines import remote
from transcription.speech.engines.base import StreamedClip
from transcription.speech.engines.client import Member
from transcription.speech.options import TranscriptionOptions


def test_least_busy_process_is_asked_and_equals_are_spread():
    waiting = {"ipc:///a": 5, "ipc:///b": 0, "ipc:///c": None, "ipc:///d": 0}
    answers = {name: None if count is None else {"waiting": count} for name, count in waiting.items()}
    asked = set()
    for job in range(20):
        members = remote.by_load(list(map(Member, waiting)), job_id=str(job), ask=lambda address, _: answers[address])
        first, _, *others = [member.address for member in members]
        asked.add(first)
        assert others == ["ipc:///a", "ipc:///c"]
    assert asked == {"ipc:///b", "ipc:///d"}


def test_nobody_there_is_said_at_the_deadline(address, clip):
    engine = remote.RemoteEngine(address, timeout_seconds=0.3)
    begun = time.monotonic()
    with pytest.raises(errors.EngineUnavailable):
        engine.recognise([clip], options=OPTIONS)
    with pytest.raises(errors.EngineUnavailable):
        _ = engine.name
    assert time.monotonic() - begun < 20
    engine.close()


def test_recording_is_in_the_language_of_several_clips(small_server, clip):
    """Three clear clips agree. Those in other languages are sent again, and it is told what was heard there."""
    by_length = {1000: ("nn", 0.2), 2000: ("en", 0.9), 3000: ("de", 0.95), 4000: ("en", 0.8)}

    def answer(message, frames):
        told = message["options"]["language"]
        language, sure = by_length[len(frames[0]) // 4]
        word = f"{language}-in-{told}"
        return {"kind": "result", "recognition": [told or language, None if told else sure, [[word, 0, 10, 0.5]]]}

    engine = small_server(answer)
    clips = [clip[:length] for length in (1000, 2000, 3000, 4000, 2000, 3000, 2000, 1000)]
    results = list(engine.stream(map(StreamedClip, clips), options=OPTIONS))
    assert {one.language for one in results} == {"en"}
    assert [one.words[0].text for one in results] == [
        "nn-in-en",
        "en-in-None",
        "de-in-en",
        "en-in-None",
        "en-in-None",
        "de-in-en",
        "en-in-None",
        "nn-in-en",
    ]
    assert [one.heard_language for one in results] == [None, None, "de", None, None, "de", None, None]
    assert [one.language_probability for one in results] == [0.8, 0.9, 0.05, 0.8, 0.9, 0.05, 0.9, 0.8]

    mixed = TranscriptionOptions(mixed_languages=True)
    heard = [one.language for one in engine.stream(map(StreamedClip, clips), options=mixed)]
    assert heard == ["nn", "en", "de", "en", "en", "de", "en", "nn"]

    # A clip whose language is named has no vote, and its place in the order.
    named = [StreamedClip(clip[:3000], "de")] * 3
    voting = [StreamedClip(clip[:length]) for length in (2000, 2000, 1000)]
    heard = [one.words[0].text for one in engine.stream([*named, *voting, *named, *voting], options=OPTIONS)]
    assert heard == (["de-in-de"] * 3 + ["en-in-None"] * 2 + ["nn-in-en"]) * 2


def test_clips_are_taken_only_a_few_ahead(small_server, clip):
    taken = []

    def clips():
        for number in range(20):
            taken.append(number)
            yield StreamedClip(clip)

    def answer(message, frames):
        time.sleep(0.02)
        return {"kind": "result", "recognition": ["en", 0.9, [["yes", 0, 10, 0.5]]]}

    ahead = []
    named = TranscriptionOptions(language="en")  # nothing waits for a decision
    for done, _ in enumerate(small_server(answer).stream(clips(), options=named)):
        ahead.append(len(taken) - done)
    assert len(ahead) == 20
    assert max(ahead) <= 6
