from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.fixtures import recordings
from tests.transcription.speech.dialogues import load, speaker_at, spoken_by
from transcription.speech import cutting
from transcription.speech.diarizers.clustering import ClusteringDiarization, ClusteringDiarizer
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import samples_to_ms


def turns(samples, **options):
    return turns_by(ClusteringDiarizer().begin(options=TranscriptionOptions(**options)), samples)


def turns_by(diarization, samples):
    for clip in cutting.clips([samples], pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    return diarization.turns()


@pytest.mark.long
@pytest.mark.parametrize("file", ["dialogue.flac", "dialogue.mp3", "dialogue.webm"])
def test_two_voices_are_told_apart(file):
    found = turns(load(file))
    for turn in recordings.named(file).turns:
        for at_ms in range(turn["start_ms"] + 100, turn["end_ms"] - 100, 100):
            assert speaker_at(found, at_ms) == turn["speaker"]


@pytest.mark.parametrize("file", ["sentence-slt.wav", "sentence-rms.wav", "sentence-slt.opus"])
def test_one_voice_is_one_speaker(file):
    assert {turn.speaker for turn in turns(load(file))} == {"S1"}


@pytest.mark.long
@pytest.mark.parametrize("file", ["dialogue.flac", "dialogue.mp3", "dialogue.webm"])
@pytest.mark.parametrize("speaker", ["S1", "S2"])
def test_several_sentences_of_one_voice_are_one_speaker(file, speaker):
    assert {turn.speaker for turn in turns(np.concatenate(spoken_by(file, speaker)))} == {"S1"}


def test_voices_without_a_pause_between_them_are_told_apart():
    slt, rms = spoken_by("dialogue.flac", "S1"), spoken_by("dialogue.flac", "S2")
    order = [slt[0], rms[0], slt[1], rms[1], slt[2]]
    ends = np.cumsum([samples_to_ms(len(samples)) for samples in order])
    middles = [int(end) - samples_to_ms(len(samples)) // 2 for end, samples in zip(ends, order, strict=True)]
    found = turns(np.concatenate(order))
    assert [speaker_at(found, at_ms) for at_ms in middles] == ["S1", "S2", "S1", "S2", "S1"]


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_number_of_speakers_is_obeyed(count):
    assert len({turn.speaker for turn in turns(load("dialogue.flac"), num_speakers=count)}) == count


def test_bounds_are_obeyed():
    assert len({turn.speaker for turn in turns(load("dialogue.flac"), max_speakers=1)}) == 1
    assert len({turn.speaker for turn in turns(load("dialogue.flac"), min_speakers=3)}) == 3


def test_turns_are_in_order_and_without_overlap():
    found = turns(load("dialogue.flac"))
    assert all(turn.start_ms < turn.end_ms for turn in found)
    assert all(left.end_ms <= right.start_ms for left, right in pairwise(found))


def test_no_speech_has_no_turns():
    assert turns(load("silence.wav")) == []


def test_a_click_of_speech_is_one_speaker():
    diarization = ClusteringDiarizer().begin(options=TranscriptionOptions(num_speakers=3))
    diarization.add(0, np.zeros(300, dtype=np.float32))
    assert {turn.speaker for turn in diarization.turns()} == {"S1"}


def test_very_long_recordings_are_sampled():
    found = turns_by(ClusteringDiarization(max_clustered=10), load("dialogue.flac"))
    assert [turn.speaker for turn in found] == [turn["speaker"] for turn in recordings.named("dialogue.flac").turns]


def test_same_recording_gives_the_same_turns():
    samples = load("dialogue.flac")
    assert turns(samples) == turns(samples)


@pytest.mark.long
@pytest.mark.parametrize("file", ["sentence-slt.wav", "sentence-rms.wav"])
@pytest.mark.parametrize("count", [2, 5, 20])
def test_one_sentence_again_and_again_is_one_speaker(file, count):
    """Each half of the sentence once became a cluster of its own, because its copies are so similar."""
    assert {turn.speaker for turn in turns(np.tile(load(file), count))} == {"S1"}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_first_sentences_of_a_dialogue_are_told_apart(count):
    slt, rms = spoken_by("dialogue.flac", "S1"), spoken_by("dialogue.flac", "S2")
    said = [slt[0], rms[0], slt[1], rms[1]][: count + 1]
    pause = np.zeros(6_000, dtype=np.float32)
    found = turns(np.concatenate([part for one in said for part in (one, pause)]))
    assert [turn.speaker for turn in found] == ["S1", "S2", "S1", "S2"][: count + 1]


def test_hiss_changes_nothing():
    samples = load("dialogue.flac")
    loudness = np.sqrt((samples**2).mean())
    hiss = np.random.default_rng(7).normal(0, loudness / 20, len(samples)).astype(np.float32)
    assert [turn.speaker for turn in turns(samples + hiss)] == [turn.speaker for turn in turns(samples)]


@pytest.mark.long
def test_repeated_recording_has_no_more_speakers():
    """Copies once formed clusters of their own: an hour of one repeated dialogue had 20 speakers."""
    assert len({turn.speaker for turn in turns(np.tile(load("dialogue.flac"), 6))}) == 2
