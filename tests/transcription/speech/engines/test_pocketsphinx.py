from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio
from transcription.speech.engines.pocketsphinx import PocketSphinxEngine
from transcription.speech.errors import EngineUnavailable, UnknownLanguage
from transcription.speech.options import TranscriptionOptions


def load(file):
    return np.concatenate(list(audio.windows(recordings.named(file).path, max_duration_ms=60_000)))


def texts(engine, *clips, **options):
    heard = engine.recognise(clips, options=TranscriptionOptions(**options))
    return [" ".join(word.text for word in one.words) for one in heard]


@pytest.fixture(scope="module")
def heard(pocketsphinx):
    """Return what is recognised of sentence-slt.wav."""
    [heard] = pocketsphinx.recognise([load("sentence-slt.wav")], options=TranscriptionOptions(language="en"))
    return heard


@pytest.mark.long
def test_sentence_is_heard_word_for_word(pocketsphinx, heard):
    assert " ".join(word.text for word in heard.words) == recordings.named("sentence-slt.wav").text
    assert texts(pocketsphinx, load("sentence-rms.wav")) == [recordings.named("sentence-rms.wav").text]


@pytest.mark.long
def test_words_have_times_and_probabilities(heard):
    turn = recordings.named("sentence-slt.wav").turns[0]
    assert abs(heard.words[0].start_ms - turn["start_ms"]) < 150
    assert abs(heard.words[-1].end_ms - turn["end_ms"]) < 150
    assert all(word.start_ms < word.end_ms and 0 <= word.probability <= 1 for word in heard.words)


@pytest.mark.slow
def test_what_came_before_changes_nothing(pocketsphinx):
    """The default decoder keeps its cepstral mean, so that the words of a clip depended on earlier clips."""
    clip = load("sentence-rms.wav")
    options = TranscriptionOptions()
    first = pocketsphinx.recognise([clip], options=options)
    pocketsphinx.recognise([load("noise.wav"), load("sentence-slt.wav") * 0.1, load("silence.wav")], options=options)
    assert pocketsphinx.recognise([clip], options=options) == first


def test_model_is_loaded_for_the_first_clip_with_sound():
    engine = PocketSphinxEngine()
    assert texts(engine, load("silence.wav")) == [""]
    assert "_decoder" not in vars(engine), "most machines never need it, because Whisper comes"


def test_missing_model_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETSPHINX_PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="missing"):
        PocketSphinxEngine()


def test_silence_empty_and_tiny_clips_give_no_words(pocketsphinx):
    nothing = np.zeros(0, dtype=np.float32)
    assert texts(pocketsphinx, load("silence.wav"), nothing, nothing, np.zeros(100, dtype=np.float32)) == [""] * 4


def test_english_only(pocketsphinx):
    with pytest.raises(UnknownLanguage):
        texts(pocketsphinx, load("sentence-slt.wav"), language="es")


def test_it_claims_no_certainty_about_the_language(heard):
    assert (heard.language, heard.language_probability) == ("en", None)
