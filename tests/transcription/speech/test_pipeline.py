from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import hostile, make_recordings, recordings
from tests.transcription.speech.fakes import FakeDiarizer, FakeEngine
from transcription.speech import errors, pipeline
from transcription.speech.diarizers.clustering import ClusteringDiarizer
from transcription.speech.options import TranscriptionOptions

SPOKEN = [one for one in recordings.everything() if one.text]
SILENT = [one for one in recordings.everything() if not one.text]


def run(path, *, engine, diarizer=None, max_duration_ms=3_600_000, on_progress=lambda _: None, **options):
    return pipeline.run(
        path,
        options=TranscriptionOptions(**options),
        engine=engine,
        diarizer=diarizer,
        max_duration_ms=max_duration_ms,
        on_progress=on_progress,
    )


@pytest.mark.parametrize("recording", SPOKEN, ids=lambda one: one.path.name)
def test_every_format_gives_every_word_and_speaker(recording, pocketsphinx):
    transcript = run(recording.path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    assert transcript.text == recording.text
    assert {speaker for speaker, _ in transcript.speakers} == recording.speakers
    assert (transcript.language, transcript.engine, transcript.diarizer) == ("en", "pocketsphinx", "clustering")


def test_dialogue_is_told_apart_turn_by_turn(pocketsphinx):
    recording = recordings.named("dialogue.flac")
    transcript = run(recording.path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    assert [(one.speaker, one.text) for one in transcript.segments] == [
        (turn["speaker"], turn["text"]) for turn in recording.turns
    ]
    for segment, turn in zip(transcript.segments, recording.turns, strict=True):
        assert abs(segment.start_ms - turn["start_ms"]) < 200
        assert abs(segment.end_ms - turn["end_ms"]) < 200


@pytest.mark.parametrize("recording", SILENT, ids=lambda one: one.path.name)
def test_silence_gives_an_empty_transcript(recording, pocketsphinx):
    transcript = run(recording.path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    assert (transcript.segments, transcript.text, transcript.language) == ((), "", None)
    assert abs(transcript.duration_ms - recording.duration_ms) < 100


def test_words_lie_in_order_inside_the_recording(pocketsphinx):
    transcript = run(recordings.named("dialogue.mp3").path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
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


def test_language_is_that_of_most_speech():
    transcript = run(recordings.named("dialogue.flac").path, engine=FakeEngine(language="de", probability=0.75))
    assert (transcript.language, transcript.language_probability) == ("de", 0.75)


def test_what_was_not_done_is_said():
    transcript = run(
        recordings.named("sentence-slt.wav").path,
        engine=FakeEngine(),
        prompt="hello",
        hotwords=("voxsite",),
        task="translate",
        channels="split",
    )
    assert len(transcript.notes) == 4


def test_long_recording_is_sent_in_batches(tmp_path):
    sentence = make_recordings.RATE * 3
    speech = np.concatenate(
        [
            np.frombuffer(recordings.named("sentence-slt.wav").path.read_bytes()[44:], dtype="<i2")[:sentence],
            np.zeros(16_000, dtype="<i2"),
        ]
    )
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.tile(speech, 20))
    engine = FakeEngine()
    transcript = run(path, engine=engine, diarizer=FakeDiarizer())
    assert max(engine.batch_sizes) == pipeline.BATCH_CLIPS
    assert sum(engine.batch_sizes) == 20
    assert transcript.words[-1].start_ms > 75_000
