from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting
from transcription.speech.diarizers import spool
from transcription.speech.diarizers.full_recording import FullRecordingDiarizer
from transcription.speech.errors import EngineFailed, EngineUnavailable
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import ms_to_samples, samples_to_ms
from transcription.speech.transcript import Turn


def feed(diarizer, *, file="dialogue.flac", **options):
    diarization = diarizer.begin(options=TranscriptionOptions(**options))
    windows = audio.windows(recordings.named(file).path, max_duration_ms=60_000)
    for clip in cutting.clips(windows, pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    return diarization


def test_model_gets_the_whole_recording_and_the_options(tmp_path):
    asked = []

    def find(path, options):
        asked.append((samples_to_ms(len(spool.read(path))), options.num_speakers))
        return [Turn(0, 500, "B"), Turn(400, 900, "A", is_background=True)]

    diarization = feed(FullRecordingDiarizer("model", find=find, max_seconds=60, folder=tmp_path), num_speakers=2)
    assert diarization.turns() == [Turn(0, 500, "S1"), Turn(400, 900, "S2", is_background=True)]
    ((length_ms, count),) = asked
    assert length_ms == pytest.approx(recordings.named("dialogue.flac").duration_ms, abs=1_000)
    assert count == 2
    assert (diarization.name, diarization.notes) == ("model", ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_longer_recordings_get_the_neural_diarizer_and_say_so(tmp_path):
    def find(path, options):
        raise AssertionError("the model must not be asked")

    diarization = feed(FullRecordingDiarizer("model", find=find, max_seconds=10, folder=tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert {turn.speaker for turn in diarization.turns()} == {"S1", "S2"}
    assert diarization.name == "neural"
    (note,) = diarization.notes
    assert note.startswith("The speakers of this recording were told apart by a simpler method: ")
    assert note.endswith("it is longer than the 10 seconds that model is given here.")


@pytest.mark.long
def test_failing_model_is_replaced_by_the_neural_diarizer(tmp_path):
    def find(path, options):
        raise EngineFailed

    diarization = feed(FullRecordingDiarizer("model", find=find, max_seconds=60, folder=tmp_path))
    assert len({turn.speaker for turn in diarization.turns()}) == 2
    assert diarization.notes[0].endswith("model failed on it.")
    assert diarization.name == "neural"
    assert list(tmp_path.iterdir()) == []


def test_engine_that_does_not_answer_is_told_to_the_caller(tmp_path):
    def find(path, options):
        raise EngineUnavailable

    with pytest.raises(EngineUnavailable):
        feed(FullRecordingDiarizer("model", find=find, max_seconds=60, folder=tmp_path)).turns()
    assert list(tmp_path.iterdir()) == []


def test_recording_in_which_the_model_hears_nobody_is_one_speaker():
    diarization = feed(FullRecordingDiarizer("model", find=lambda path, options: [], max_seconds=60))
    assert {turn.speaker for turn in diarization.turns()} == {"S1"}


def test_recording_without_a_clip_has_no_turns():
    diarizer = FullRecordingDiarizer("model", find=lambda path, options: [Turn(0, 1, "A")], max_seconds=60)
    assert diarizer.begin(options=TranscriptionOptions()).turns() == []


def test_memory_holds_one_clip_at_most(tmp_path):
    """The samples of an hour of clips are on disk."""
    import tracemalloc

    diarizer = FullRecordingDiarizer("model", find=lambda path, options: [], max_seconds=7_200, folder=tmp_path)
    diarization = diarizer.begin(options=TranscriptionOptions())
    clip = np.zeros(ms_to_samples(30_000), dtype=np.float32)
    tracemalloc.start()
    try:
        for number in range(120):
            diarization.add(number * 30_000, clip)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert {turn.speaker for turn in diarization.turns()} == {"S1"}
