"""The real pyannote.audio with random weights: its turns are noise, but all code from samples to turns is real."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting, speakers
from transcription.speech.diarizers.full_recording import FullRecordingDiarizer
from transcription.speech.diarizers.pyannote import NAME, PyannoteDiarizer, PyannotePipeline
from transcription.speech.diarizers.service import Recordings, RemoteDiarizer, pyannote_handler
from transcription.speech.errors import EngineUnavailable, Stopped
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE, samples_to_ms
from transcription.speech.transcript import Word

# Torch, Lightning and pyannote emit many warnings about themselves.
pytestmark = [pytest.mark.gpu, pytest.mark.disable_socket, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def samples():
    return np.concatenate(list(audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)))


def diarize(diarizer, samples, **options):
    diarization = diarizer.begin(options=TranscriptionOptions(**options))
    for clip in cutting.clips([samples], pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    return diarization, diarization.turns()


def test_turns_are_sorted_and_inside_the_recording(pipeline, samples):
    turns = pipeline.find(samples, TranscriptionOptions())
    assert turns
    assert turns == sorted(turns, key=lambda turn: (turn.start_ms, turn.end_ms))
    assert all(0 <= turn.start_ms < turn.end_ms <= samples_to_ms(len(samples)) for turn in turns)
    in_front = [turn for turn in turns if not turn.is_background]
    assert all(left.end_ms <= right.start_ms for left, right in pairwise(in_front))


def test_speech_over_speech_is_in_the_background(pipeline, samples):
    turns = pipeline.find(samples, TranscriptionOptions(min_speakers=2))
    behind = [turn for turn in turns if turn.is_background]
    assert behind
    for turn in behind:
        assert any(
            other.speaker != turn.speaker and other.start_ms < turn.end_ms and turn.start_ms < other.end_ms
            for other in turns
            if not other.is_background
        )


@pytest.mark.parametrize(
    ("options", "possible"),
    [
        ({"num_speakers": 1}, {1}),
        ({"num_speakers": 3}, {3}),
        ({"max_speakers": 2}, {1, 2}),
        ({"min_speakers": 3}, {3, 4}),
    ],
)
def test_number_of_speakers_is_obeyed(pipeline, samples, options, possible):
    assert len({turn.speaker for turn in pipeline.find(samples, TranscriptionOptions(**options))}) in possible


@pytest.mark.parametrize("looks", [0, 1, 2, 5, 9])
def test_stop_is_heard_in_every_step(pipeline, samples, looks):
    """Between steps, and between the batches of a step, the next call of should_stop ends the work."""
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > looks

    with pytest.raises(Stopped):
        pipeline.find(samples, TranscriptionOptions(), should_stop)
    assert len(asked) == looks + 1
    # The pipeline still works for the next caller.
    assert pipeline.find(samples[: 6 * SAMPLE_RATE], TranscriptionOptions())


def test_same_recording_gives_the_same_turns(pipeline, samples):
    short = samples[: 6 * SAMPLE_RATE]
    assert pipeline.find(short, TranscriptionOptions()) == pipeline.find(short, TranscriptionOptions())


def test_a_click_of_speech_is_nobody(pipeline):
    assert pipeline.find(np.zeros(8_000, dtype=np.float32), TranscriptionOptions()) == []


def test_diarizer_names_speakers_by_appearance_and_every_word_has_one(folder, samples):
    diarization, turns = diarize(PyannoteDiarizer(str(folder), device="cpu"), samples, num_speakers=2)
    assert (diarization.name, diarization.notes) == (NAME, ())
    assert [turns[0].speaker, {turn.speaker for turn in turns}] == ["S1", {"S1", "S2"}]
    words = [Word("word", at, at + 300, 0.9) for at in range(0, 15_000, 400)]
    assert {word.speaker for word in speakers.assign(words, turns, tolerance_ms=diarization.boundary_tolerance_ms)} <= {
        "S1",
        "S2",
    }


def test_recording_beyond_the_cap_is_clustered_and_says_so(folder, samples):
    diarization, turns = diarize(PyannoteDiarizer(str(folder), device="cpu", max_seconds=10), samples)
    assert diarization.name == "neural"
    assert [turn.speaker for turn in turns] == [turn["speaker"] for turn in recordings.named("dialogue.flac").turns]
    (note,) = diarization.notes
    assert "longer than the 10 seconds" in note


def test_out_of_memory_is_clustered_and_says_so(folder, samples, monkeypatch):
    import torch

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    loaded = PyannotePipeline(str(folder), device="cpu")
    monkeypatch.setattr(loaded, "_pipeline", fail)
    diarization, turns = diarize(FullRecordingDiarizer(NAME, find=loaded.find_in, max_seconds=60), samples)
    assert (diarization.name, len({turn.speaker for turn in turns})) == ("neural", 2)
    assert "pyannote failed on it" in diarization.notes[0]


def test_words_where_the_model_hears_nobody_belong_to_one_speaker(folder, samples):
    import torch

    loaded = PyannotePipeline(str(folder), device="cpu")
    classifier = loaded._pipeline._segmentation.model.classifier
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias[0] = 10.0  # the first class is silence
    assert loaded.find(samples, TranscriptionOptions()) == []
    _, turns = diarize(FullRecordingDiarizer(NAME, find=loaded.find_in, max_seconds=60), samples)
    assert {turn.speaker for turn in turns} == {"S1"}


def test_worker_gets_from_the_engine_process_what_the_model_says(folder, samples, tmp_path):
    received = Recordings(folder=tmp_path, max_seconds=60)
    answer = pyannote_handler(str(folder), recordings=received, device="cpu")()

    def ask(message, frames):
        at_once = received.take(message, frames)
        return answer(message, [], lambda: False) if at_once is None else at_once

    remote = RemoteDiarizer(NAME, ask=ask, max_seconds=60, folder=tmp_path)
    _, far = diarize(remote, samples, num_speakers=2)
    _, near = diarize(PyannoteDiarizer(str(folder), device="cpu"), samples, num_speakers=2)
    assert far == near
    assert list(tmp_path.iterdir()) == []


def test_telemetry_is_off_whatever_the_environment_says(folder, monkeypatch):
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "1")
    PyannotePipeline(str(folder), device="cpu")
    from pyannote.audio.telemetry.metrics import is_metrics_enabled

    assert not is_metrics_enabled()


def test_folder_without_a_pipeline_cannot_be_loaded(tmp_path):
    with pytest.raises(EngineUnavailable, match="could not be loaded"):
        PyannotePipeline(str(tmp_path), device="cpu")


def test_hub_is_not_reached_without_a_network():
    with pytest.raises(EngineUnavailable):
        PyannotePipeline("nobody/nothing", device="cpu")
