"""In which language a recording is written, and how its words are joined."""

from __future__ import annotations

import json
import wave

import numpy as np
import pytest

from tests.fixtures import make_recordings, recordings
from tests.transcription.speech.fakes import FakeEngine
from tests.transcription.speech.pipelines import run
from transcription.speech import audio, pipeline, turns
from transcription.speech.engines import alignment
from transcription.speech.engines.base import Recognition
from transcription.speech.formats import FORMATS
from transcription.speech.samples import SAMPLE_RATE, ms_to_samples
from transcription.speech.transcript import Word, join_words


def test_language_is_that_of_most_speech():
    transcript = run(recordings.named("dialogue.flac").path, engine=FakeEngine(language="de", probability=0.75))
    assert (transcript.language, transcript.language_probability) == ("de", 0.75)


@pytest.mark.slow
def test_language_is_found_out_for_every_clip_on_request(tmp_path, whisper, wav, said):
    """36 s of English, then 132 s of Spanish."""
    path = tmp_path / "both.wav"
    path.write_bytes(wav(said("en-dialogue.flac", "en-meeting.flac", *["es-dialogue.flac"] * 6)))
    transcript = run(path, engine=whisper)
    assert transcript.language == "es"
    assert transcript.language_probability < 0.95
    [note] = transcript.notes
    assert note.startswith("English was also heard")
    assert {"reunión", "hola"} <= {word.text for word in transcript.words}
    mixed = run(path, engine=whisper, mixed_languages=True)
    assert (mixed.language, mixed.notes) == ("es", ())
    assert {"good", "morning", "reunión", "hola"} <= {word.text for word in mixed.words}


def notes_on_languages(transcript):
    """Return the notes. The engines below say so little that another note counts their words (decision 68)."""
    return [note for note in transcript.notes if not note.startswith("Words were found")]


class SaysEngine(FakeEngine):
    """Recognises what a test says, clip by clip: (language, units as the model writes them, probability)."""

    def __init__(self, *clips):
        super().__init__()
        self._clips = list(clips)

    def _recognise(self, clip):
        spoken, units, *probability = self._clips.pop(0)
        aligned = [
            {"word": unit, "tokens": [1], "start": at * 0.2, "end": at * 0.2 + 0.2, "probability": 0.5}
            for at, unit in enumerate(units)
        ]
        words = alignment.repaired_words(aligned, duration_ms=len(clip) // 16, language=spoken)
        return Recognition(words, spoken, *(probability or [0.99]))


ZH = ("zh", ["我们", "今天", "见", "。"])


ZH_MORE = ("zh", ["再", "见", "。"])


EN = ("en", [" Good", " morning", ",", " this", " is", " the", " English", " part", "."])


EN_MORE = ("en", [" It", "'s", " 3", ".14", "."])


ENGLISH, MORE_ENGLISH = "Good morning, this is the English part.", "It's 3.14."


@pytest.mark.long
@pytest.mark.parametrize(
    ("clips", "text"),
    [
        ([ZH, ZH_MORE, EN, ZH, EN_MORE], f"我们今天见。再见。 {ENGLISH} 我们今天见。 {MORE_ENGLISH}"),
        ([EN, EN_MORE, ZH, ZH_MORE, EN], f"{ENGLISH} {MORE_ENGLISH} 我们今天见。再见。 {ENGLISH}"),
        (
            [("ko", [" 안녕", "하세요", "."]), ZH, ("th", ["สวัสดี", "ครับ"]), ("th", ["ขอบคุณ"]), EN_MORE],
            f"안녕하세요. 我们今天见。 สวัสดีครับ ขอบคุณ {MORE_ENGLISH}",
        ),
    ],
    ids=["chinese-first", "english-first", "four-languages"],
)
def test_each_language_of_a_recording_keeps_its_blanks(clips, text):
    told = []
    path = recordings.named("dialogue.flac").path
    transcript = run(path, engine=SaysEngine(*clips), mixed_languages=True, on_segments=told.extend)
    assert transcript.text == text
    assert join_words(transcript.words) == text
    assert [one.text for one in told] == [one.text for one in transcript.segments]
    for name in ("txt", "srt", "vtt"):
        lines = FORMATS[name].render(transcript).decode().removeprefix("WEBVTT").splitlines()
        shown = [line for line in lines if line and "-->" not in line and not line.isdecimal()]
        assert shown == [one.text for one in transcript.segments], name
    # Five sentences of one voice are one paragraph.
    assert [paragraph["text"] for paragraph in turns.paragraphs(transcript)] == [text]


WHOLE = ["d'avoir,", "puis-je", "3.14", "10:30", "john@example.com"]


def test_whole_words_are_in_every_result():
    """In JSON, text, subtitles, the page and live events, each with one span of time."""
    units = [" d", "'avoir", ",", " puis", "-je", " 3", ".14", " 10", ":30", " john", "@example", ".com"]
    told = []
    path = recordings.named("sentence-slt.wav").path
    transcript = run(path, engine=SaysEngine(("fr", units)), on_segments=told.extend)
    assert [word.text for word in transcript.words] == WHOLE
    document = json.loads(FORMATS["json"].render(transcript))
    found = [word for segment in document["segments"] for word in segment["words"]]
    assert [word["word"] for word in found] == WHOLE
    lengths = [0.4, 0.4, 0.4, 0.4, 0.6]
    assert [round(word["end"] - word["start"], 2) for word in found] == lengths
    text = " ".join(WHOLE)
    assert document["text"] == text
    assert " ".join(segment.text for segment in told) == text
    assert " ".join(paragraph["text"] for paragraph in turns.paragraphs(transcript)) == text
    for name in ("txt", "srt", "vtt", "tsv"):
        shown = FORMATS[name].render(transcript).decode().split()
        assert all(word in shown for word in WHOLE), name


def test_each_channel_keeps_the_blanks_of_its_language(two_channels):
    transcript = run(two_channels, engine=SaysEngine(EN, ZH), channels="split")
    assert transcript.text == f"{ENGLISH} 我们今天见。"
    assert {one.speaker: one.text for one in transcript.segments} == {"S1": ENGLISH, "S2": "我们今天见。"}


@pytest.mark.long
def test_segments_of_channels_are_apart_although_their_words_touch(tmp_path, wav, said):
    """Both channels speak Chinese and Latin letters; what stands before a segment is of the other channel."""
    path = tmp_path / "both.wav"
    path.write_bytes(wav(said("en-hello.wav", pause_ms=6_000), np.roll(said("es-hola.wav", pause_ms=6_000), 48_000)))
    transcript = run(path, engine=SaysEngine(("zh", ["用", "AI"]), ("zh", ["用", "VR"])), channels="split")
    assert transcript.text == "用AI 用VR"


YES, SI = ("en", [" Yes", "."]), ("es", [" Sí", "."])


@pytest.fixture
def long_dialogue(tmp_path):
    """Fifteen sentences in 47 s: a clip each."""
    path = tmp_path / "long.flac"
    [samples] = audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)
    make_recordings.encode(path, (np.tile(samples, 3) * 32767).astype("<i2"))
    return path


@pytest.mark.long
def test_language_that_lasts_is_kept_and_told(long_dialogue):
    transcript = run(long_dialogue, engine=SaysEngine(*[YES] * 6, *[SI] * 9))
    assert transcript.text == "Yes. " * 6 + "Sí. " * 8 + "Sí."
    assert transcript.language == "es"
    assert 0.5 < transcript.language_probability < 0.7
    [note] = notes_on_languages(transcript)
    assert note.startswith("English was also heard, for about 1")
    assert note.endswith("recognised in its own language.")


@pytest.mark.long
def test_language_that_comes_and_goes_is_not_kept_but_told(long_dialogue):
    clips = [YES, YES, YES, *[SI, SI, YES] * 4]
    transcript = run(long_dialogue, engine=AgainEngine(*clips))
    assert transcript.text == "Yes. " * 14 + "Yes."
    [note] = notes_on_languages(transcript)
    assert note.startswith("Spanish was also heard, for about 2")
    assert "recognised as English" in note


class AgainEngine(SaysEngine):
    """Says "Yes." for every clip that it is asked to recognise in English."""

    def recognise(self, clips, *, options):
        if options.language == "en":
            return [Recognition((Word("Yes.", 0, 400, 0.5),), "en") for _ in clips]
        return super().recognise(clips, options=options)


@pytest.mark.long
def test_three_languages_that_last_are_kept_and_told(long_dialogue):
    oui = ("fr", [" Oui", "."])
    transcript = run(long_dialogue, engine=SaysEngine(*[YES] * 4, *[SI] * 4, *[oui] * 7))
    assert transcript.text == "Yes. " * 4 + "Sí. " * 4 + "Oui. " * 6 + "Oui."
    assert transcript.language == "fr"
    assert [note.split(" was also heard")[0] for note in notes_on_languages(transcript)] == ["English", "Spanish"]


def test_a_few_seconds_of_another_language_are_not_told():
    path = recordings.named("dialogue.flac").path
    transcript = run(path, engine=AgainEngine(YES, YES, YES, SI, YES))
    assert (transcript.language, notes_on_languages(transcript)) == ("en", [])


@pytest.mark.long
@pytest.mark.parametrize("options", [{"language": "en"}, {"mixed_languages": True}])
def test_nothing_is_told_of_languages_that_were_expected(options):
    clips = [EN, ("es", [" Sí", "."]), ("es", [" Sí", "."]), ("es", [" Sí", "."]), EN]
    transcript = run(recordings.named("dialogue.flac").path, engine=SaysEngine(*clips), **options)
    assert notes_on_languages(transcript) == []


def test_translation_is_joined_as_english_whatever_was_spoken():
    """Chinese is written without spaces, its translation with spaces."""
    engine = FakeEngine(language="zh")
    engine.supported_options = frozenset({"translate"})
    told = []
    path = recordings.named("sentence-slt.wav").path
    transcript = run(path, engine=engine, task="translate", on_segments=told.append)
    assert (transcript.language, transcript.written_in, transcript.is_translated) == ("zh", "en", True)
    assert transcript.text == " ".join(word.text for word in transcript.words)
    assert " ".join(one.text for segments in told for one in segments) == transcript.text
    assert run(path, engine=FakeEngine(language="zh"), task="translate").is_translated is False


def _written(tmp_path, sound):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def _dialogue():
    return np.concatenate(list(audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=600_000)))


@pytest.mark.long
def test_language_alone_needs_the_first_speech_only(tmp_path):
    """Of minutes of speech, which begin late, half a minute is recognised. Nothing of its text is given to anybody."""
    speech = np.tile(_dialogue(), 12)
    late = np.concatenate([np.zeros(ms_to_samples(65_000), dtype=np.float32), speech])
    engine, told = FakeEngine(), []
    transcript = run(_written(tmp_path, late), engine=engine, only_language=True, on_segments=told.append)
    assert (transcript.language, transcript.language_probability) == ("en", 0.9)
    assert (transcript.segments, told) == ((), [])
    assert pipeline.LANGUAGE_SPEECH_MS <= sum(engine.clip_lengths_ms) < pipeline.LANGUAGE_SPEECH_MS + 30_000
    assert 65_000 < transcript.duration_ms < len(late) / SAMPLE_RATE * 1000
    assert pipeline.ONLY_LANGUAGE_NOTE in transcript.notes


def test_language_of_a_short_recording():
    transcript = run(recordings.named("dialogue.flac").path, engine=FakeEngine(language="de"), only_language=True)
    assert (transcript.language, transcript.segments) == ("de", ())


@pytest.mark.long
def test_language_is_not_looked_for_in_hours_of_silence(tmp_path):
    silence = np.zeros(ms_to_samples(pipeline.LANGUAGE_SEARCH_MS + 120_000), dtype=np.float32)
    transcript = run(_written(tmp_path, silence), engine=FakeEngine(), only_language=True)
    assert (transcript.language, transcript.segments) == (None, ())
    assert transcript.duration_ms == pipeline.LANGUAGE_SEARCH_MS
