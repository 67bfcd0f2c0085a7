"""The client of engine processes, over the real socket."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from tests.transcription.speech.engines.recognising import OPTIONS, heard, in_threads
from transcription.speech import errors
from transcription.speech.engines import client, protocol, remote
from transcription.speech.engines.base import StreamedClip
from transcription.speech.options import TranscriptionOptions


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.7], ids=["before-the-first-ping", "between-pings"])
def test_killed_process_loses_no_request(delay, new_whisper_process, address, spoken):
    """Four jobs at once, in two languages; the process is killed and another one takes its place."""
    jobs = [remote.RemoteEngine(address, job_id=str(number), timeout_seconds=30) for number in range(4)]
    clips = [clip for _, clip in spoken] * 2

    def kill():
        time.sleep(delay)
        before = first.health()["instance"]
        first.kill()
        first.start()
        return before

    with new_whisper_process() as first:
        *results, instance = in_threads(*(lambda job=job: heard(job, clips) for job in jobs), kill)
        assert results == [[text for text, _ in spoken] * 2] * 4
        after = first.health()
        assert after["instance"] != instance
        assert after["waiting"] == 0


@pytest.mark.slow
def test_other_process_takes_over_from_a_dead_one(new_whisper_process, whisper_process, address, spoken, monkeypatch):
    """The dead process is not started again."""
    monkeypatch.setattr(remote, "by_load", lambda addresses, job_id: list(addresses))
    clips = [clip for _, clip in spoken] * 3
    with new_whisper_process() as first:
        engine = remote.RemoteEngine([address, whisper_process.address], timeout_seconds=30, failover_seconds=0.5)
        stream = engine.stream(map(StreamedClip, clips), options=TranscriptionOptions(mixed_languages=True))
        results = [next(stream)]
        first.kill()
        results += list(stream)
    assert [" ".join(word.text for word in one.words) for one in results] == [text for text, _ in spoken] * 3


def test_full_queue_asks_to_come_again(small_server, clip):
    asked = []

    def answer(message, frames):
        asked.append(message["id"])
        done = {"kind": "result", "recognition": ["en", None, [["yes", 0, 10, 0.5]]]}
        return done if len(asked) >= 3 else {"kind": "busy"}

    assert heard(small_server(answer), [clip]) == ["yes"]
    assert len(asked) == 3
    assert len(set(asked)) == 1


@pytest.mark.long
def test_one_question_of_any_kind(whisper_process, spoken, address):
    message = {"kind": "recognise", "options": OPTIONS.to_dict()}
    with closing(client.EngineClient([whisper_process.address], timeout_seconds=30)) as asker:
        answer = asker.ask(message, [protocol.pack_clip(spoken[0][1])])
        assert [word[0] for word in answer["recognition"][2]] == spoken[0][0].split()
        with pytest.raises(errors.OptionError):
            asker.ask({**message, "options": {"task": "sing"}}, [b"1234"])
    with (
        closing(client.EngineClient([address], timeout_seconds=0.2)) as asker,
        pytest.raises(errors.EngineUnavailable),
    ):
        asker.ask(message)
