"""whisper-asr-webservice's words: the queries of its clients in their exact form, and its answers."""

import pytest

from accounts.error_types import ErrorType
from accounts.errors import InvalidField, VoxsiteError
from transcription.dialects.asr import wire
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.engines import whisper_languages
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript, Word

OFFER = ModelCapabilities("faster-whisper/base", frozenset(whisper_languages.LANGUAGES) - {"yue"}, translates=True)
TURBO = ModelCapabilities("faster-whisper/large-v3-turbo", frozenset(whisper_languages.LANGUAGES), translates=False)


def read(**fields):
    return wire.read(fields, offer=OFFER)


def made(*, diarizer="neural", language="en", probability=0.75):
    speaker = "S2" if diarizer else None
    words = (Word("Good", 120, 400, 0.98765, speaker), Word("morning.", 400, 900, 0.5, speaker))
    return Transcript(
        language=language,
        language_probability=probability,
        duration_ms=1_500,
        segments=(Segment(120, 900, "Good morning.", words, speaker),),
        engine="faster-whisper/base",
        diarizer=diarizer,
    )


def test_without_fields_it_is_text_in_the_language_that_is_spoken():
    assert read() == wire.Asked(
        model="standard", options=TranscriptionOptions(diarize=False, word_timestamps=False), output="txt"
    )


def test_query_of_bazarr():
    asked = read(task="translate", language="nn", output="srt", encode="false", video_file="/films/A Film (1999).mkv")
    assert (asked.output, asked.is_pcm, asked.name) == ("srt", True, "/films/A Film (1999).mkv")
    assert (asked.options.task, asked.options.language, asked.options.diarize) == ("translate", "nn", False)


def test_query_of_speakr():
    asked = read(
        encode="true", task="transcribe", output="json", language="de", diarize="true", enable_diarization="true",
        min_speakers="2", max_speakers="5", initial_prompt="Names:", hotwords="Voxsite, Speakr,Voxsite",
        return_speaker_embeddings="true",
    )  # fmt: skip
    assert asked.options == TranscriptionOptions(
        language="de", prompt="Names:", hotwords=("Voxsite", "Speakr"), min_speakers=2, max_speakers=5,
        word_timestamps=False,
    )  # fmt: skip
    assert not asked.is_pcm


def test_numbers_of_speakers_mean_nothing_without_labels():
    asked = read(diarize="false", min_speakers="3", max_speakers="2")
    assert (asked.options.min_speakers, asked.options.max_speakers) == (None, None)
    assert read(diarize="true", min_speakers="0", max_speakers="").options.min_speakers is None


@pytest.mark.parametrize("word", ["True", "1", "on", "yes", "false", "0", "off", "no", ""])
def test_booleans_are_those_of_fastapi(word):
    assert read(word_timestamps=word).options.word_timestamps is (word in ("True", "1", "on", "yes"))


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("en", "en"), ("EN", "en"), ("english", "en"), ("Nynorsk", "nn"), ("myanmar", "my"), ("en-US", "en"),
        ("ger", "de"), ("auto", None), ("", None), ("None", None),
    ],
)  # fmt: skip
def test_language_may_be_a_code_or_a_name(language, code):
    assert read(language=language).options.language == code


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"task": "sing"}, "task"),
        ({"output": "docx"}, "output"),
        ({"encode": "maybe"}, "encode"),
        ({"diarize": "1", "min_speakers": "21"}, "min_speakers"),
        ({"diarize": "1", "min_speakers": "-1"}, "min_speakers"),
        ({"diarize": "1", "max_speakers": "²"}, "max_speakers"),
        ({"diarize": "1", "min_speakers": "5", "max_speakers": "2"}, "min_speakers"),
        ({"initial_prompt": "x" * 4001}, "initial_prompt"),
        ({"initial_prompt": "a\x00b"}, "initial_prompt"),
        ({"hotwords": "x" * 101}, "hotwords"),
    ],
)
def test_value_that_cannot_be_is_refused_by_name(fields, param):
    with pytest.raises(InvalidField) as caught:
        read(**fields)
    assert caught.value.data["param"] == param


def test_model_that_cannot_translate_says_so():
    with pytest.raises(InvalidField) as caught:
        wire.read({"task": "translate"}, offer=TURBO)
    assert caught.value.data["param"] == "task"


def test_unknown_fields_are_ignored():
    assert read(vad_filter="true", return_speaker_embeddings="1", nonsense="x") == read()


def test_detection_listens_for_the_language_only():
    asked = wire.read_detection({"encode": "false", "video_file": "/films/a.mkv"})
    assert (asked.options.only_language, asked.options.diarize) == (True, False)
    assert (asked.is_pcm, asked.name, asked.model) == (True, "/films/a.mkv", "standard")


def test_json_has_speakers_and_words_as_they_are_asked_for():
    assert wire.show_result(made(diarizer=None), asked=read(output="json")) == {
        "text": "Good morning.",
        "language": "en",
        "segments": [{"id": 0, "start": 0.12, "end": 0.9, "text": "Good morning."}],
    }
    whole = wire.show_result(made(), asked=read(diarize="true", word_timestamps="true"))
    assert whole["segments"][0]["speaker"] == "SPEAKER_01"
    assert whole["segments"][0]["words"] == [
        {"word": "Good", "start": 0.12, "end": 0.4, "probability": 0.9877, "speaker": "SPEAKER_01"},
        {"word": "morning.", "start": 0.4, "end": 0.9, "probability": 0.5, "speaker": "SPEAKER_01"},
    ]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("txt", "Good morning.\n"),
        ("srt", "1\n00:00:00,120 --> 00:00:01,120\nGood morning.\n"),
        ("vtt", "WEBVTT\n\n00:00:00.120 --> 00:00:01.120\nGood morning.\n"),
        ("tsv", "start\tend\ttext\n120\t900\tGood morning.\n"),
    ],
)
def test_other_outputs(output, text):
    assert wire.render(made(diarizer=None), asked=read(output=output)).decode() == text


def test_text_names_speakers_if_they_were_asked_for():
    assert wire.render(made(), asked=read(diarize="true")).decode() == "Speaker 2: Good morning.\n"


def test_headers_are_those_of_the_original():
    sent = wire.headers(made(), asked=read(output="srt"), name='a "film"\r\nX: y.mkv')
    assert sent["Asr-Engine"] == "faster-whisper/base"
    assert sent["Content-Disposition"] == 'attachment; filename="a%20%22film%22%0D%0AX%3A%20y.mkv.srt"'


def test_language_is_told_by_whispers_name():
    assert wire.show_language(made(language="nn", probability=0.9)) == {
        "detected_language": "nynorsk",
        "language_code": "nn",
        "confidence": 0.9,
    }
    assert wire.show_language(made(probability=None))["confidence"] == 1.0
    assert wire.show_language(made(language=None, probability=None)) == {
        "detected_language": "undetermined",
        "language_code": "und",
        "confidence": 0.0,
    }


@pytest.mark.long
@pytest.mark.parametrize("kind", ErrorType)
def test_error_of_every_type_has_a_detail(kind):
    shown = wire.show_error(VoxsiteError("What is wrong.", error_type=kind, param="language"), request_id="req_1")
    assert shown == {"detail": "What is wrong.", "type": str(kind), "request_id": "req_1", "param": "language"}
