"""Speech that the engine skips comes into the transcript all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.fixtures import make_recordings, recordings
from tests.transcription.speech.fakes import FakeEngine, serving
from tests.transcription.speech.pipelines import run
from transcription.speech import cutting, skipped
from transcription.speech.engines import language
from transcription.speech.engines.base import Recognition
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.remote import RemoteEngine
from transcription.speech.samples import ms_to_samples, samples_to_ms
from transcription.speech.transcript import Word


class ForgetfulEngine(FakeEngine):
    """An engine that hears nothing after the first two seconds of a long clip, as Whisper now and then."""

    # Shorter than the recordings, which would be one clip otherwise.
    max_clip_ms = packed_ms = 12_000
    probability_of_words = 0.9

    def _recognise(self, clip):
        length_ms = samples_to_ms(len(clip))
        self.clip_lengths_ms.append(length_ms)
        heard_ms = 2_000 if length_ms > 8_000 else length_ms
        number = len(self.clip_lengths_ms)
        words = [
            Word(f"word{number}-{at}", at, at + 400, self.probability_of_words)
            for at in range(300, heard_ms - 400, 900)
        ]
        return Recognition(tuple(words), self.language, self.probability)


def sentences(path, *, count):
    """Write a sentence of 3 s every 5 s."""
    speech = np.frombuffer(recordings.named("sentence-slt.wav").path.read_bytes()[44:], dtype="<i2")
    sentence = np.concatenate([speech[: make_recordings.RATE * 3], np.zeros(32_000, dtype="<i2")])
    make_recordings.encode(path, np.tile(sentence, count))
    return path


@pytest.fixture(scope="module")
def nine_sentences(tmp_path_factory):
    return sentences(tmp_path_factory.mktemp("sentences") / "nine.flac", count=9)


def sentences_with_words(transcript):
    return {word.start_ms // 5_000 for word in transcript.words}


@pytest.mark.long
def test_speech_that_the_engine_skipped_is_recognised_again(nine_sentences):
    told = []
    transcript = run(nine_sentences, engine=ForgetfulEngine(), on_segments=told.extend)
    assert sentences_with_words(transcript) == set(range(9))
    starts = [word.start_ms for word in transcript.words]
    assert starts == sorted(starts)
    # Those who watch are told in the order of the recording, and of nothing that the transcript lacks.
    assert [word for segment in told for word in segment.words] == list(transcript.words)


@pytest.mark.long
def test_speech_that_was_skipped_is_recognised_again_through_the_engine_process(nine_sentences, tmp_path):
    models = ModelCache({"standard": ""}, lambda _: ForgetfulEngine())
    address = f"ipc://{tmp_path}/engine.sock"
    with serving(models, address=address):
        engine = RemoteEngine(address, timeout_seconds=30)
        transcript = run(nine_sentences, engine=engine)
        engine.close()
    assert sentences_with_words(transcript) == set(range(9))


@pytest.mark.long
def test_unlikely_words_of_skipped_speech_are_left_out(nine_sentences):
    engine = ForgetfulEngine()
    engine.probability_of_words = 0.4
    assert sentences_with_words(run(nine_sentences, engine=engine)) == {0, 3, 6}


@pytest.mark.long
def test_words_that_were_heard_already_are_not_written_twice(nine_sentences):
    """The times of words may err: what seems to be skipped was heard in another stretch."""
    engine = ForgetfulEngine()
    engine._recognise = lambda clip: Recognition((Word("hello", 300, 700, 0.9), Word("there", 700, 900, 0.9)), "en")
    assert sentences_with_words(run(nine_sentences, engine=engine)) == {0, 3, 6}


@pytest.mark.long
def test_translation_is_not_searched_for_skipped_speech(nine_sentences):
    """Its words have no times that say what was heard."""
    engine = ForgetfulEngine()
    engine.supported_options = frozenset({"translate"})
    assert sentences_with_words(run(nine_sentences, engine=engine, task="translate")) == {0, 3, 6}


@pytest.mark.long
def test_clip_without_its_parts_is_not_recognised_again(nine_sentences):
    """Words at the edges of a stretch leave it without any; alone it would sound as before."""
    engine = FakeEngine()
    engine.words = (Word("word", 0, 100, 0.9),)
    transcript = run(nine_sentences, engine=engine)
    assert len(engine.clip_lengths_ms) == len(transcript.words) == 9


class WelshEngine(ForgetfulEngine):
    """Takes short clips for Welsh unless it is told the language. Each word ends in the language of its recognition."""

    def recognise(self, clips, *, options):
        return [self._in_language(clip, options.language) for clip in clips]

    def recognise_batch(self, prepared, options):
        for index, (clip, asked) in enumerate(zip(prepared, options, strict=True)):
            yield index, self._in_language(clip, asked.language)

    def _in_language(self, clip, named):
        code = named or ("en" if samples_to_ms(len(clip)) > 8_000 else "cy")
        heard = self._recognise(clip)
        words = tuple(replace(word, text=f"{word.text}-{code}") for word in heard.words)
        return replace(heard, words=words, language=code, language_probability=None if named else 0.99)


class HastyEngine(WelshEngine):
    """Reads all clips before it recognises the first, as an engine with large batches reads a short recording."""

    def stream(self, clips, *, options):
        yield from language.stream(WelshEngine(), list(clips), options=options)


def languages_of_words(transcript):
    return {word.text[-2:] for word in transcript.words}


@pytest.fixture(params=["in this process", "in the engine process"])
def welsh_engine(request, tmp_path):
    if request.param == "in this process":
        yield WelshEngine()
        return
    address = f"ipc://{tmp_path}/engine.sock"
    with serving(ModelCache({"standard": ""}, lambda _: WelshEngine()), address=address):
        engine = RemoteEngine(address, timeout_seconds=30)
        yield engine
        engine.close()


@pytest.mark.long
def test_short_stretches_do_not_change_the_language_of_the_recording(welsh_engine, tmp_path):
    """Three in a row surely are Welsh, before any further clip of the recording is heard."""
    transcript = run(sentences(tmp_path / "many.flac", count=36), engine=welsh_engine)
    assert sentences_with_words(transcript) == set(range(36))
    assert languages_of_words(transcript) == {"en"}
    assert (transcript.language, transcript.language_probability, transcript.notes) == ("en", 0.99, ())


@pytest.mark.long
def test_what_is_recognised_again_at_the_end_is_in_the_language_of_the_recording(nine_sentences):
    transcript = run(nine_sentences, engine=HastyEngine())
    assert sentences_with_words(transcript) == set(range(9))
    assert languages_of_words(transcript) == {"en"}


@pytest.mark.long
def test_mixed_languages_stay_mixed_where_speech_is_recognised_again(nine_sentences):
    assert languages_of_words(run(nine_sentences, engine=HastyEngine(), mixed_languages=True)) == {"en", "cy"}


def heard_clip(*words):
    clip = cutting.Clip(samples=np.zeros(ms_to_samples(6_000), dtype=np.float32), starts=((0, 0), (3_000, 3_000)))
    heard = skipped.HeardClip(clip, list(words))
    assert heard.open() is not None
    return heard


def test_words_that_are_marks_only_are_not_added():
    heard = heard_clip(Word("Hello.", 300, 700, 0.9))
    heard.add([Word("♪", 3_300, 3_700, 0.9)])
    assert [word.text for word in heard.words] == ["Hello."]


def test_mark_between_words_does_not_hide_that_they_were_said_already():
    heard = heard_clip(Word("Good", 300, 700, 0.9), Word("--", 700, 800, 0.9), Word("morning", 800, 1_200, 0.9))
    heard.add([Word("good", 3_300, 3_700, 0.9), Word("morning", 3_700, 4_100, 0.9)])
    assert [word.text for word in heard.words] == ["Good", "--", "morning"]
