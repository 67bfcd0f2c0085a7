"""Real recognition by the tiny Whisper. Only decodings for the tests of hallucinations are made up."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.fixtures import tiny_whisper
from transcription.speech import audio
from transcription.speech.engines import faster_whisper
from transcription.speech.errors import EngineUnavailable, UnknownLanguage
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE, samples_to_ms

SHORT = [one for one in tiny_whisper.samples().values() if one.text and one.path.name not in ("en-long.flac",)]
OPTIONS = TranscriptionOptions()
LOOP = "thank you " * 40


def load(name):
    return np.concatenate(list(audio.windows(tiny_whisper.SAMPLES / name, max_duration_ms=600_000)))


def text(recognition):
    return " ".join(word.text for word in recognition.words)


def wrong_words(heard, said):
    """Return how many different words only one of both texts contains."""
    return len(set(said.split()) ^ set(heard.split()))


class Decoder:
    """A stub of CTranslate2's model with prepared answers. Keeps the temperatures of its calls."""

    def __init__(self, whisper, *answers):
        self.whisper, self.answers, self.temperatures = whisper, list(answers), []

    def generate(self, encoded, prompts, **how):
        self.temperatures.append(how.get("sampling_temperature", 0))
        said, score, no_speech = self.answers.pop(0)
        tokens = self.whisper._tokenizer("en", "transcribe").encode(" " + said)
        return [SimpleNamespace(sequences_ids=[tokens], scores=[score], no_speech_prob=no_speech) for _ in prompts]

    def __getattr__(self, name):
        return getattr(self.whisper._whisper.real, name)


@pytest.fixture(scope="module")
def heard_together(whisper):
    recognitions = whisper.recognise([load(one.path.name) for one in SHORT], options=OPTIONS)
    return dict(zip([one.path.name for one in SHORT], recognitions, strict=True))


@pytest.mark.parametrize("sample", SHORT, ids=lambda one: one.path.name)
def test_text_and_language_are_right_in_a_mixed_batch(sample, heard_together):
    heard = heard_together[sample.path.name]
    assert heard.language == sample.language
    assert heard.language_probability > 0.9
    assert wrong_words(text(heard), sample.text) <= 2


@pytest.mark.long
def test_a_clip_gives_the_same_beside_any_neighbours(whisper, heard_together):
    for name in ("en-hello.wav", "es-hola.wav", "en-meeting.flac"):
        assert whisper.recognise([load(name)], options=OPTIONS) == [heard_together[name]]


@pytest.mark.long
def test_words_have_times_inside_the_clip(heard_together):
    for sample in SHORT:
        words = heard_together[sample.path.name].words
        length_ms = samples_to_ms(len(load(sample.path.name)))
        assert [word.start_ms for word in words] == sorted(word.start_ms for word in words)
        assert all(0 <= word.start_ms <= word.end_ms <= length_ms for word in words)
        assert all(0 < word.probability <= 1 for word in words)


@pytest.mark.slow
def test_last_word_ends_with_the_speech(whisper_folder):
    """Computed in float32, in which processors agree.

    In int8 they do not: on one without AVX-512, the last word of en-dialogue.flac ends 1.4 s early, and on one with it
    at the right time (CTranslate2 4.8.5, 2026-11-28).
    """
    exact = faster_whisper.FasterWhisperEngine(model=str(whisper_folder), device="cpu", compute_type="float32")
    recognitions = exact.recognise([load(sample.path.name) for sample in SHORT], options=OPTIONS)
    for sample, heard in zip(SHORT, recognitions, strict=True):
        last = float(str(sample.turns[-1]["end"])) * 1000
        assert abs(heard.words[-1].end_ms - last) < 500, sample.path.name


@pytest.mark.parametrize(
    ("language", "task", "written"), [("zh", "translate", "en"), ("zh", "transcribe", "zh"), ("en", "translate", "en")]
)
def test_text_of_a_translation_is_english(whisper, language, task, written):
    assert faster_whisper._written_language(whisper._tokenizer(language, task)) == written


@pytest.mark.parametrize(
    ("among", "found"),
    [((), ("en", 0.7)), (("es", "de"), ("es", 0.75)), (("de",), ("de", 1.0)), (("fr",), ("fr", 0.0))],
)
def test_language_is_the_likeliest_that_may_be(whisper, among, found):
    """A model may detect a language that nobody can ask for, such as "xx" here."""
    detected = [("<|xx|>", 0.1), ("<|en|>", 0.7), ("<|es|>", 0.15), ("<|de|>", 0.05)]
    assert whisper._likeliest(detected, among=among) == found


def test_candidates_are_kept_to(whisper):
    [heard] = whisper.recognise([load("es-hola.wav")], options=replace(OPTIONS, languages=("en", "fr")))
    assert heard.language in ("en", "fr")
    [heard] = whisper.recognise([load("es-hola.wav")], options=replace(OPTIONS, languages=("en", "es")))
    assert (heard.language, heard.language_probability > 0.9) == ("es", True)
    with pytest.raises(UnknownLanguage):
        whisper.recognise([load("es-hola.wav")], options=replace(OPTIONS, languages=("es", "xx")))


def test_prompt_hotwords_and_task_reach_the_model(whisper, monkeypatch):
    clip = load("es-hola.wav")
    prompts = []
    generate = whisper._generate
    monkeypatch.setattr(whisper, "_generate", lambda e, p, **how: prompts.extend(p) or generate(e, p, **how))
    asked = replace(OPTIONS, prompt="la reunión es hoy", hotwords=("Voxsite", "hola"), task="translate", language="es")
    [heard] = whisper.recognise([clip], options=asked)
    tokenizer = whisper._tokenizer("es", "translate")
    [prompt] = prompts
    assert prompt[-4:] == [*tokenizer.sot_sequence, tokenizer.no_timestamps]
    assert prompt[0] == tokenizer.sot_prev
    assert tokenizer.decode(prompt[1:-4]) == " Voxsite, hola la reunión es hoy"
    assert heard.language == "es"
    assert heard.language_probability is None
    assert text(heard).startswith("hello")


def test_endless_prompt_and_hotwords_leave_room_for_words(whisper):
    asked = replace(OPTIONS, prompt="hello my name is " * 500, hotwords=("meeting",) * 500)
    clip = whisper.prepare(load("en-hello.wav"))
    assert whisper.bucket(clip, asked) == (faster_whisper.FULL_CONTEXT, faster_whisper.MAX_PROMPT_TOKENS + 1)
    assert whisper.recognise([load("en-hello.wav")], options=asked)[0].words


def test_prompts_of_one_length_share_a_batch_and_others_do_not(whisper):
    one, other = replace(OPTIONS, prompt="hello"), replace(OPTIONS, prompt="goodbye", language="es", task="translate")
    clip = whisper.prepare(load("en-hello.wav"))
    assert whisper.bucket(clip, one) == whisper.bucket(clip, other) != whisper.bucket(clip, OPTIONS)


@pytest.fixture(scope="module")
def short(whisper_folder):
    """The tiny Whisper with a short context for clips of at most 12 s. Its own figures allow none."""
    return faster_whisper.FasterWhisperEngine(model=str(whisper_folder), device="cpu", short_context_clip_ms=12_000)


class Watched:
    """CTranslate2's model, with the frames that its calls got for each clip: (call, frames)."""

    def __init__(self, model):
        self.model, self.calls = model, []

    def encode(self, features, **how):
        self.calls.append(("encode", features.shape[2]))
        return self.model.encode(features, **how)

    def detect_language(self, encoded):
        self.calls.append(("detect_language", 2 * encoded.shape[1]))
        return self.model.detect_language(encoded)

    def align(self, encoded, *rest, **how):
        self.calls.append(("align", 2 * encoded.shape[1]))
        return self.model.align(encoded, *rest, **how)

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_language_and_word_times_come_from_the_frames_of_the_short_context(short, whisper, monkeypatch):
    watched = Watched(short._whisper.model)
    monkeypatch.setattr(short._whisper, "model", watched)
    clip = load("en-meeting.flac")
    [heard] = short.recognise([clip], options=OPTIONS)
    assert watched.calls == [("encode", 1500), ("detect_language", 1500), ("align", 1500)]
    [full] = whisper.recognise([clip], options=OPTIONS)
    assert (text(heard), heard.language) == (text(full), full.language)
    # A frame that counts twice or half would be an error of seconds.
    for one, other in zip(heard.words, full.words, strict=True):
        assert abs(one.start_ms - other.start_ms) <= 400, (one, other)


@pytest.mark.slow
def test_clips_of_different_contexts_share_no_batch_and_come_back_in_order(short):
    hello, seconds = load("en-hello.wav"), SAMPLE_RATE
    clips = [np.resize(hello, 12 * seconds + 16), hello, np.resize(hello, 12 * seconds), np.resize(hello, 29 * seconds)]
    buckets = [short.bucket(short.prepare(clip), OPTIONS) for clip in clips]
    assert buckets == [(3000, 0), (1500, 0), (1500, 0), (3000, 0)]
    heard = short.recognise(clips, options=OPTIONS)
    assert heard == [short.recognise([clip], options=OPTIONS)[0] for clip in clips]


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "contexts"),
    [
        (("hello", -0.2, 0.1), [1500]),
        (("hello", -0.3, 0.9), [1500]),  # sure of the words, in spite of no_speech
        (("hello", -3.0, 0.9), [1500, 3000]),  # silence, but only the full context may say so
        (("hello", -1.2, 0.1), [1500, 3000]),  # likely enough for the full context, not for the short one
        ((LOOP, -0.2, 0.1), [1500, 3000]),  # a loop
        (("hello", -3.0, 0.1), [1500, 3000]),  # unlikely
        ((" ".join(map(str, range(400))), -0.2, 0.1), [1500, 3000]),  # goes on to the limit of tokens
    ],
    ids=["sure", "sure-of-words", "silence", "less-sure", "loop", "unsure", "cut-off"],
)
def test_doubtful_clip_is_repeated_in_full_context(first, contexts, short, monkeypatch):
    decoder = Decoder(short, first, ("hello", -0.3, 0.1))
    watched = Watched(short._whisper.model)
    monkeypatch.setattr(short._whisper, "real", watched, raising=False)
    monkeypatch.setattr(short._whisper, "model", decoder)
    before = short.figures()
    [heard] = short.recognise([load("en-hello.wav")], options=OPTIONS)
    assert text(heard) == "hello"
    assert [frames for call, frames in watched.calls if call == "encode"] == contexts
    assert decoder.temperatures == [0] * len(contexts)  # again with the beam, not at a higher temperature
    after = short.figures()
    assert after["repeated"] - before["repeated"] == len(contexts) - 1
    assert after["contexts"]["1500"] - before["contexts"].get("1500", 0) == 1


def test_repeat_in_full_context_is_what_full_context_gives(short, whisper, monkeypatch):
    clip = load("en-hello.wav")
    again, full = short.prepare(clip).in_full_context(), whisper.prepare(clip)
    assert np.array_equal(again.features, full.features)
    assert (again.context, again.duration_ms) == (full.context, full.duration_ms)


@pytest.mark.parametrize(("name", "context"), [("base", 1500), ("tiny", 3000), ("large-v3", 3000)])
def test_only_models_with_known_word_errors_get_short_contexts(name, context, whisper_folder):
    engine = faster_whisper.FasterWhisperEngine(model=str(whisper_folder), name=name, device="cpu")
    assert engine.prepare(load("en-hello.wav")).context == context


def test_language_that_was_given_is_used_and_unknown_ones_are_refused(whisper):
    clip = load("en-hello.wav")
    [heard] = whisper.recognise([clip], options=replace(OPTIONS, language="es"))
    assert (heard.language, heard.language_probability) == ("es", None)
    with pytest.raises(UnknownLanguage):
        whisper.recognise([clip], options=replace(OPTIONS, language="xx"))


@pytest.mark.long
def test_silence_noise_tones_and_nothing_give_no_words(whisper):
    seconds = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(7).normal(size=20 * SAMPLE_RATE) * 0.1
    chord = sum(np.sin(seconds * 2 * np.pi * pitch) for pitch in (220, 277, 330)) / 6
    clips = [np.zeros(SAMPLE_RATE), np.zeros(0), np.zeros(5), noise, np.sin(seconds * 2 * np.pi * 440) / 2, chord]
    heard = whisper.recognise([clip.astype(np.float32) for clip in clips], options=OPTIONS)
    assert [text(one) for one in heard] == [""] * len(clips)


@pytest.fixture
def decoder(whisper, monkeypatch):
    def make(*answers):
        decoder = Decoder(whisper, *answers)
        monkeypatch.setattr(whisper._whisper, "real", whisper._whisper.model, raising=False)
        monkeypatch.setattr(whisper._whisper, "model", decoder)
        return decoder

    return make


@pytest.mark.long
@pytest.mark.parametrize(
    ("answers", "words", "temperatures"),
    [
        ([("hello", -0.2, 0.9)], "hello", [0]),  # high probability of the words: no silence, in spite of no_speech
        ([("hello", -3.0, 0.9)], "", [0]),  # both figures mean silence
        ([("hello", -3.0, 0.1), ("goodbye", -0.3, 0.1)], "goodbye", [0, 0.2]),  # low probability: decoded again
        ([(LOOP, -0.2, 0.1), ("thank you", -0.3, 0.1)], "thank you", [0, 0.2]),  # repetition: decoded again
        ([("hello", -6.0, 0.1), ("one", -5.0, 0.1), ("two", -4.0, 0.1), ("six", -9.0, 0.1)], "two", [0, 0.2, 0.4, 0.8]),
        ([(LOOP, -0.2, 0.1)] * 4, "thank you thank you", [0, 0.2, 0.4, 0.8]),  # repetition at all temperatures: cut
        # Said so: the score is good and the time suffices. Neither decoded again nor cut.
        ([("no " * 10, -0.1, 0.1)], "no " * 9 + "no", [0]),
        ([("one " * 8, -0.1, 0.1)], "one " * 7 + "one", [0]),
        ([("bla bla " * 6, -0.5, 0.1)], "bla bla " * 5 + "bla bla", [0]),
        ([("yes, sir. " * 6, -0.4, 0.1)], "yes, sir. " * 5 + "yes, sir.", [0]),
        ([("la la la hey " * 4, -0.3, 0.1)], "la la la hey " * 3 + "la la la hey", [0]),
        # The same words with a bad score.
        ([("no " * 10, -1.2, 0.1)] * 4, "no no", [0, 0.2, 0.4, 0.8]),
        # A bad loop without blanks, as Whisper base made it of "bla bla".
        ([("Plot" * 60, -0.06, 0.1)] * 4, "PlotPlot", [0, 0.2, 0.4, 0.8]),
    ],
    ids=[
        "sure",
        "silence",
        "unsure",
        "loop",
        "best-of-all",
        "loop-for-ever",
        "ten-times-no",
        "eight-times-one",
        "twelve-times-bla",
        "six-times-yes-sir",
        "chant",
        "bad-ten-times-no",
        "loop-without-blanks",
    ],
)
def test_hallucinations_are_gated(answers, words, temperatures, whisper, decoder):
    made = decoder(*answers)
    [heard] = whisper.recognise([load("en-hello.wav")], options=OPTIONS)
    assert text(heard) == words
    assert made.temperatures == temperatures


@pytest.mark.long
def test_speech_that_repeats_itself_is_decoded_once(whisper):
    """A long recording of one sentence again and again is what the tiny model knows; nothing of it may be missing."""
    clip = np.tile(load("en-hello.wav"), 5)
    [once] = whisper.recognise([load("en-hello.wav")], options=OPTIONS)
    [heard] = whisper.recognise([clip[: 29 * SAMPLE_RATE]], options=OPTIONS)
    assert len(heard.words) > 3 * len(once.words)


@pytest.mark.slow
def test_second_tries_give_the_same_words_every_time(whisper, monkeypatch):
    monkeypatch.setattr(faster_whisper.hallucination, "LOG_PROBABILITY_THRESHOLD", -0.0001)
    names = ("en-hello.wav", "en-order.flac")
    forward = [whisper.recognise([load(name)], options=OPTIONS) for name in names]
    backward = [whisper.recognise([load(name)], options=OPTIONS) for name in reversed(names)]
    assert forward == backward[::-1]


def test_missing_model_is_said(tmp_path):
    with pytest.raises(EngineUnavailable):
        faster_whisper.FasterWhisperEngine(model=str(tmp_path), name="nothing", device="cpu")


@pytest.mark.slow
def test_batch_takes_little_more_memory_than_a_clip(whisper_folder):
    """The attention of the encoder for 8 clips together took 354 MB with this tiny model; a large one needs GB."""
    program = f"""
import resource
import numpy as np
from transcription.speech import audio
from transcription.speech.engines.faster_whisper import FasterWhisperEngine
from transcription.speech.options import TranscriptionOptions

engine = FasterWhisperEngine(model={str(whisper_folder)!r}, name="tiny", device="cpu")
[speech] = audio.windows({str(tiny_whisper.SAMPLES / "en-dialogue.flac")!r}, max_duration_ms=30_000)
clips = [np.resize(speech, 480_000)] * 8
highest = []
for batch in (clips[:1], clips):
    engine.recognise(batch, options=TranscriptionOptions())
    highest.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((highest[1] - highest[0]) // 1024)
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(run.stdout) < 150


def test_cantonese_is_known_if_the_vocabulary_has_it(whisper_folder):
    """Without its token, the library sends no language at all: the request must be refused before."""
    engine = faster_whisper.FasterWhisperEngine(model=str(whisper_folder), name="tiny", device="cpu")
    assert "yue" not in engine.languages
    with pytest.raises(UnknownLanguage):
        engine.recognise([np.zeros(SAMPLE_RATE, dtype=np.float32)], options=TranscriptionOptions(language="yue"))
    engine._whisper.hf_tokenizer.add_special_tokens(["<|yue|>"])
    assert "yue" in engine._known_languages()
