"""Which channels and tracks are heard, and what a transcript says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.fixtures import encoding, make_recordings, recordings, tiny_whisper
from tests.transcription.speech.fakes import FakeDiarizer, FakeEngine
from tests.transcription.speech.pipelines import run
from transcription.speech import audio
from transcription.speech.options import MAX_SPLIT_CHANNELS
from transcription.speech.samples import SAMPLE_RATE, ms_to_samples


@pytest.mark.long
def test_channels_are_transcribed_apart(two_channels, whisper):
    told = []
    transcript = run(two_channels, engine=whisper, diarizer=FakeDiarizer(), channels="split", on_progress=told.append)
    said = [(one.speaker, one.text) for one in transcript.segments]
    assert said == [
        ("S1", tiny_whisper.samples()["en-hello.wav"].text),
        ("S2", tiny_whisper.samples()["es-hola.wav"].text),
    ]
    assert transcript.segments[1].start_ms > 3_900
    assert transcript.diarizer == "channels"
    assert told == sorted(told)
    assert told[-1] == transcript.duration_ms


def test_too_many_channels_are_mixed_and_that_is_said(tmp_path):
    path = encoding.wav(tmp_path / "desk.wav", np.repeat(spoken(), MAX_SPLIT_CHANNELS + 1, axis=0))
    transcript = run(path, engine=FakeEngine(), channels="split")
    assert len(transcript.notes) == 1
    assert transcript.words


def spoken(name="sentence-slt.wav"):
    """Return a fixture's sound as one channel of shape (1, n)."""
    return np.concatenate(list(audio.windows(recordings.named(name).path, max_duration_ms=60_000)))[None, :]


def test_reversed_channel_gives_the_words_of_the_other(tmp_path, pocketsphinx):
    path = encoding.write(
        tmp_path / "inv.wav", np.vstack([spoken(), -spoken()]), container="wav", codec="pcm_s16le"
    )  # fmt: skip
    assert run(path, engine=pocketsphinx).text == make_recordings.SENTENCE_SLT


@pytest.mark.long
@pytest.mark.parametrize("channels", [3, 10])
def test_words_of_the_last_channel_are_heard(channels, tmp_path, pocketsphinx):
    sound = np.zeros((channels, spoken().shape[1]), dtype=np.float32)
    sound[-1] = spoken()[0]
    assert run(encoding.wav(tmp_path / "desk.wav", sound), engine=pocketsphinx).text == make_recordings.SENTENCE_SLT


@pytest.mark.long
def test_both_tracks_are_heard(tmp_path, pocketsphinx):
    one, other = spoken(), spoken("sentence-rms.wav")
    path = encoding.write(
        tmp_path / "call.mkv",
        [one, other],
        container="matroska",
        codec="flac",
        starts=[0.0, one.shape[1] / SAMPLE_RATE],
    )
    transcript = run(path, engine=pocketsphinx)
    assert transcript.text == f"{make_recordings.SENTENCE_SLT} {make_recordings.SENTENCE_RMS}"
    apart = run(path, engine=pocketsphinx, channels="split")
    assert [segment.text for segment in apart.segments] == [make_recordings.SENTENCE_SLT, make_recordings.SENTENCE_RMS]


def test_notes_name_a_track_in_another_language(tmp_path):
    path = encoding.write(
        tmp_path / "film.mkv", [spoken(), spoken()], container="matroska", codec="flac",
        metadata=[{"language": "eng"}, {"language": "fre"}],
    )  # fmt: skip
    [note] = run(path, engine=FakeEngine()).notes
    assert "1 more audio track in another language" in note


def test_notes_say_where_a_file_stops(tmp_path):
    good = encoding.write(tmp_path / "1", spoken(), container="mp4", codec="aac").read_bytes()
    path = tmp_path / "joined.mp4"
    path.write_bytes(good + good[: int.from_bytes(good[:4])] + (8).to_bytes(4, "big") + b"moov")
    assert run(path, engine=FakeEngine()).notes == ("The file is damaged at 0:00:03. Nothing after it could be read.",)


@pytest.mark.parametrize("gain", [1.0, 0.5, -1.0])
def test_notes_of_split_channels_name_the_same_sound(gain, tmp_path):
    sound = np.vstack([spoken(), gain * spoken()])
    path = encoding.write(tmp_path / "dual.wav", sound, container="wav", codec="pcm_s16le")
    [note] = run(path, engine=FakeEngine(), channels="split").notes
    assert note.startswith("Channel 2 has the same sound as channel 1.")


@pytest.mark.slow
def test_microphones_of_one_room_are_told_although_their_sound_differs(tmp_path, pocketsphinx):
    """The far one is quieter, 15 ms late, and has its own noise."""
    near = spoken("dialogue.flac")[0]
    noise = np.random.default_rng(1).standard_normal(len(near)).astype(np.float32) * 0.001
    far = 0.4 * np.roll(near, ms_to_samples(15)) + noise
    path = encoding.write(tmp_path / "room.wav", np.stack([near, far]), container="wav", codec="pcm_s16le")
    notes = run(path, engine=pocketsphinx, channels="split").notes
    assert [note.partition(".")[0] for note in notes if "channel" in note] == [
        "Most words of channel 2 are in another channel too"
    ]


def test_channels_of_two_persons_have_no_note(tmp_path):
    one, other = spoken(), spoken("sentence-rms.wav")
    size = min(one.shape[1], other.shape[1])
    sound = np.vstack([one[:, :size], other[:, :size]])
    path = encoding.write(tmp_path / "call.wav", sound, container="wav", codec="pcm_s16le")
    assert run(path, engine=FakeEngine(), channels="split").notes == ()


@pytest.mark.long
def test_notes_name_loud_sound_without_words(tmp_path, pocketsphinx):
    sound = np.hstack([spoken(), encoding.tone(45, hertz=200)])
    path = encoding.write(tmp_path / "alarm.flac", sound, container="flac", codec="flac")
    transcript = run(path, engine=pocketsphinx)
    assert transcript.words[-1].end_ms < 5_000
    assert any(note.startswith("From 0:00:0") and "no words" in note for note in transcript.notes)


@pytest.mark.long
def test_notes_tell_that_little_of_the_sound_became_words(tmp_path, pocketsphinx):
    """Twenty seconds of sound in pieces and one sentence: it was charged like any other, and nothing was said."""
    pieces = [part for _ in range(4) for part in (encoding.tone(5, hertz=200), np.zeros((1, 8_000), dtype=np.float32))]
    sound = np.hstack([spoken(), *pieces])
    path = encoding.write(tmp_path / "alarm.flac", sound, container="flac", codec="flac")
    [note] = [one for one in run(path, engine=pocketsphinx).notes if one.startswith("Words were")]
    assert re.fullmatch(r"Words were found in 0:00:0[345] of 0:00:2[3-6] of loud sound\.", note)
