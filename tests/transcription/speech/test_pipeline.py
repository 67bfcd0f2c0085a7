from __future__ import annotations

import functools
import threading
import time

import numpy as np
import pytest

from tests.fixtures import hostile, make_recordings, recordings, tiny_whisper
from tests.transcription.speech.fakes import FakeDiarization, FakeDiarizer, FakeEngine
from tests.transcription.speech.pipelines import run
from transcription.speech import audio, errors
from transcription.speech.diarizers import background
from transcription.speech.diarizers.clustering import ClusteringDiarizer
from transcription.speech.engines.remote import RemoteEngine
from transcription.speech.samples import SAMPLE_RATE

SPOKEN = [one for one in recordings.everything() if one.text]
# The words do not depend on the format once it is decoded, so that most of them are left to the slow tests.
QUICK = ("dialogue.flac", "sentence-slt.mp3")
SILENT = [one for one in recordings.everything() if not one.text]


@pytest.fixture(scope="module")
def heard(pocketsphinx):
    """Return a function that gives the transcript of a recording. It takes seconds, so that it is made once."""
    return functools.cache(
        lambda name: run(recordings.named(name).path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    )


@pytest.mark.parametrize(
    "recording",
    [pytest.param(one, marks=[] if one.path.name in QUICK else pytest.mark.slow) for one in SPOKEN],
    ids=lambda one: one.path.name,
)
def test_every_format_gives_every_word_and_speaker(recording, heard):
    transcript = heard(recording.path.name)
    assert transcript.text == recording.text
    assert {speaker for speaker, _ in transcript.speakers} == recording.speakers
    assert (transcript.language, transcript.engine, transcript.diarizer) == ("en", "pocketsphinx", "clustering")


def test_dialogue_is_told_apart_turn_by_turn(heard):
    recording = recordings.named("dialogue.flac")
    transcript = heard("dialogue.flac")
    assert [(one.speaker, one.text) for one in transcript.segments] == [
        (turn["speaker"], turn["text"]) for turn in recording.turns
    ]
    for segment, turn in zip(transcript.segments, recording.turns, strict=True):
        assert abs(segment.start_ms - turn["start_ms"]) < 200
        assert abs(segment.end_ms - turn["end_ms"]) < 200


@pytest.mark.long
@pytest.mark.parametrize("recording", SILENT, ids=lambda one: one.path.name)
def test_silence_gives_an_empty_transcript(recording, pocketsphinx):
    transcript = run(recording.path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    assert (transcript.segments, transcript.text, transcript.language) == ((), "", None)
    assert abs(transcript.duration_ms - recording.duration_ms) < 100


def test_words_lie_in_order_inside_the_recording(heard):
    transcript = heard("dialogue.flac")
    times = [(word.start_ms, word.end_ms) for word in transcript.words]
    assert times == sorted(times)
    assert all(0 <= start < end <= transcript.duration_ms for start, end in times)
    assert all(word.speaker for word in transcript.words)


def test_without_diarizer_words_have_no_speaker():
    transcript = run(
        recordings.named("dialogue.flac").path, engine=FakeEngine(), diarizer=FakeDiarizer(), diarize=False
    )
    assert transcript.diarizer is None
    assert {word.speaker for word in transcript.words} == {None}
    assert transcript.speakers == []


def test_progress_never_falls_and_ends_at_the_duration():
    told = []
    transcript = run(recordings.named("dialogue.flac").path, engine=FakeEngine(), on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == transcript.duration_ms


def test_progress_may_end_the_run():
    class CanceledError(Exception):
        pass

    def stop(_):
        raise CanceledError

    engine = FakeEngine()
    with pytest.raises(CanceledError):
        run(recordings.named("dialogue.flac").path, engine=engine, on_progress=stop)
    assert len(engine.clip_lengths_ms) == 0


class WaitsForRecognition(FakeDiarization):
    """A diarization whose windows are not done before the engine has got a clip."""

    def __init__(self, is_recognising):
        super().__init__()
        self.is_recognising = is_recognising

    def hear(self, start_ms, samples):
        assert self.is_recognising.wait(60), "recognition waits for the diarizer"
        super().hear(start_ms, samples)


def test_recognition_does_not_wait_for_the_diarizer():
    engine, diarizer, is_recognising = FakeEngine(), FakeDiarizer(), threading.Event()
    engine.before_clip = is_recognising.set
    diarizer.begin = lambda options: WaitsForRecognition(is_recognising)
    transcript = run(recordings.named("dialogue.flac").path, engine=engine, diarizer=diarizer)
    assert {word.speaker for word in transcript.words} == {"S1", "S2"}


def test_failed_diarizer_fails_the_run():
    diarizer = FakeDiarizer()

    def begin(options):
        raise errors.EngineUnavailable("no diarizer")

    diarizer.begin = begin
    with pytest.raises(errors.EngineUnavailable, match="no diarizer"):
        run(recordings.named("dialogue.flac").path, engine=FakeEngine(), diarizer=diarizer)


def test_run_that_is_ended_leaves_no_diarizer_at_work():
    def stop(done_ms):
        if done_ms:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recordings.named("dialogue.flac").path, engine=FakeEngine(), diarizer=FakeDiarizer(), on_progress=stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(background.THREAD_NAME)]


def test_unknown_language_is_refused_before_decoding(pocketsphinx, tmp_path):
    with pytest.raises(errors.UnknownLanguage) as caught:
        run(tmp_path / "never-opened", engine=pocketsphinx, language="fr")
    assert caught.value.data["languages"] == ["en"]


def test_too_long_is_refused_while_decoding(tmp_path):
    with pytest.raises(errors.AudioTooLong):
        run(recordings.named("dialogue.flac").path, engine=FakeEngine(), max_duration_ms=5_000)


@pytest.mark.parametrize("make", [hostile.text, hostile.image, hostile.archive, hostile.no_moov, hostile.empty])
def test_bad_file_raises_an_audio_error(make, tmp_path):
    with pytest.raises(errors.AudioError):
        run(make(tmp_path), engine=FakeEngine())


def test_what_was_not_done_is_said():
    transcript = run(
        recordings.named("sentence-slt.wav").path,
        engine=FakeEngine(),
        prompt="hello",
        hotwords=("voxsite",),
        task="translate",
    )
    assert len(transcript.notes) == 3


@pytest.mark.long
def test_recording_without_pauses_between_stretches_keeps_every_time(tmp_path):
    """A clip for Whisper contains many stretches of speech without the silence between them. Times must not shift."""
    sentence = make_recordings.RATE * 3
    speech = np.concatenate(
        [
            np.frombuffer(recordings.named("sentence-slt.wav").path.read_bytes()[44:], dtype="<i2")[:sentence],
            np.zeros(32_000, dtype="<i2"),
        ]
    )
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.tile(speech, 20))
    engine = FakeEngine()
    engine.packed_ms = engine.max_clip_ms
    transcript = run(path, engine=engine, diarizer=FakeDiarizer())
    assert len(engine.clip_lengths_ms) < 5
    assert all(length_ms <= engine.max_clip_ms for length_ms in engine.clip_lengths_ms)
    assert transcript.words[-1].start_ms > 93_000
    # Nothing is said in the last 2 s of every 5.
    assert all(word.start_ms % 5_000 < 3_500 for word in transcript.words)


def test_segments_are_told_clip_by_clip():
    told = []
    recording = recordings.named("dialogue.flac")
    transcript = run(recording.path, engine=FakeEngine(), on_segments=told.append)
    assert len(told) == len(recording.turns)
    assert [word for segments in told for one in segments for word in one.words] == list(transcript.words)


def test_words_that_are_said_in_every_clip_are_kept():
    """A loop is looked for in one decoding, and not across the end of a clip."""
    engine = FakeEngine()
    engine.say("bye bye bye")
    transcript = run(recordings.named("dialogue.flac").path, engine=engine)
    assert transcript.text == " ".join(["bye"] * 3 * len(recordings.named("dialogue.flac").turns))


@pytest.mark.long
@pytest.mark.parametrize("name", ["en-hello.wav", "en-meeting.flac", "es-hola.wav", "es-reunion.flac"])
def test_whisper_hears_files_through_the_engine_process(name, whisper_process):
    sample = tiny_whisper.samples()[name]
    engine = RemoteEngine(whisper_process.address, timeout_seconds=30)
    transcript = run(sample.path, engine=engine, diarizer=ClusteringDiarizer())
    assert (transcript.text, transcript.language) == (sample.text, sample.language)
    turns = sample.turns
    assert abs(transcript.words[0].start_ms - 1000 * turns[0]["start"]) < 450
    assert abs(transcript.words[-1].end_ms - 1000 * turns[-1]["end"]) < 450
    assert all(word.speaker for word in transcript.words)


@pytest.mark.long
def test_silence_noise_and_tones_of_a_minute_give_nothing_through_whisper(whisper_process, tmp_path):
    seconds = np.arange(60 * SAMPLE_RATE) / SAMPLE_RATE
    sounds = {
        "silence": np.zeros(len(seconds)),
        "noise": np.random.default_rng(3).normal(size=len(seconds)) * 0.1,
        "tones": sum(np.sin(seconds * 2 * np.pi * pitch) * (seconds % 1 < 0.5) for pitch in (262, 330, 392)) / 4,
    }
    engine = RemoteEngine(whisper_process.address, timeout_seconds=30)
    for name, samples in sounds.items():
        path = tmp_path / f"{name}.flac"
        make_recordings.encode(path, (samples * 32767).astype("<i2"))
        transcript = run(path, engine=engine, diarizer=ClusteringDiarizer())
        assert (transcript.segments, transcript.language) == ((), None), name
        assert abs(transcript.duration_ms - 60_000) < 100


@pytest.mark.long
def test_stop_comes_through_within_two_seconds(whisper_process, tmp_path):
    path = tmp_path / "long.flac"
    speech = np.concatenate(list(audio.windows(tiny_whisper.SAMPLES / "en-dialogue.flac", max_duration_ms=60_000)))
    make_recordings.encode(path, (np.tile(speech, 40) * 32767).astype("<i2"))
    stop_at = time.monotonic() + 1.5
    engine = RemoteEngine(whisper_process.address, should_stop=lambda: time.monotonic() > stop_at)
    with pytest.raises(errors.Stopped):
        run(path, engine=engine)
    assert time.monotonic() - stop_at < 2
    engine.close()
    # The waiting requests are dropped and do not delay others.
    deadline = time.monotonic() + 10
    while whisper_process.health()["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
