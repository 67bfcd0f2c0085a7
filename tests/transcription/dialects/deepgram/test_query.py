"""Deepgram's parameters, as its package and other clients send them."""

from urllib.parse import parse_qs

import pytest

from accounts.errors import BadRequest, InvalidField
from transcription.dialects.deepgram import query
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.options import TranscriptionOptions

OFFER = ModelCapabilities("faster-whisper/base", frozenset({"en", "de", "es", "fr"}), translates=True)


def read(text):
    return query.read(parse_qs(text, keep_blank_values=True), offer=OFFER)


def test_query_of_deepgram_sdk():
    """Recorded from 7.17.0: booleans in small letters, repeated names, sorted."""
    asked = read("diarize=true&keyterm=a&keyterm=b&model=nova-3&smart_format=true")
    assert asked == query.Listen(
        model="nova-3",
        options=TranscriptionOptions(hotwords=("a", "b")),
        is_punctuated=True,
        with_paragraphs=True,
    )


def test_query_of_livekit():
    asked = read(
        "model=nova-3&punctuate=true&detect_language=false&smart_format=false&keywords=Voxsite%3A1.5&language=en-US"
        "&numerals=false&mip_opt_out=false"
    )
    assert (asked.options.language, asked.options.hotwords, asked.is_punctuated) == ("en", ("Voxsite",), True)
    assert asked.warnings == ()


def test_query_of_open_webui():
    asked = read("smart_format=true&model=nova-2&language=de")
    assert (asked.model, asked.options.language, asked.warnings) == ("nova-2", "de", ())


def test_nothing_is_asked_for_without_parameters():
    asked = read("")
    assert asked == query.Listen(model="standard", options=TranscriptionOptions(diarize=False))
    assert query.model_of({"model": ["", "nova-3", ""]}) == "nova-3"


@pytest.mark.parametrize(
    ("text", "language", "mixed", "candidates", "tells"),
    [
        ("", None, False, (), False),
        ("language=auto", None, False, (), False),
        ("language=de", "de", False, (), False),
        ("language=en-GB&detect_language=false", "en", False, (), False),
        ("language=de&detect_language=true", None, False, (), True),
        ("detect_language=true", None, False, (), True),
        ("detect_language=en&detect_language=es-419", None, False, ("en", "es"), True),
        ("language=multi", None, True, (), True),
        ("language=multi&language_hint=de&language_hint=en", None, True, ("de", "en"), True),
    ],
)
def test_language_is_named_or_detected(text, language, mixed, candidates, tells):
    asked = read(text)
    assert (asked.options.language, asked.options.mixed_languages, asked.options.languages) == (
        language,
        mixed,
        candidates,
    )
    assert asked.with_detected_language is tells
    asked.options.refuse_contradictions()


def test_channels_apart_have_one_speaker_each():
    asked = read("multichannel=true&diarize=true")
    assert (asked.options.channels, asked.options.diarize) == ("split", False)
    assert [one["parameter"] for one in asked.warnings] == ["diarize"]


@pytest.mark.parametrize(
    "text", ["diarize=true", "diarize_model=latest", "diarize=1", "diarize=false&diarize_model=v2"]
)
def test_speakers_are_told_apart(text):
    assert read(text).options.diarize


def test_headerless_recording_is_described():
    asked = read("encoding=linear16&sample_rate=8000&channels=2")
    assert (asked.sample_rate, asked.channels) == (8000, 2)
    assert read("encoding=opus&sample_rate=48000").sample_rate is None


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("encoding=linear16", "sample_rate"),
        ("encoding=linear16&sample_rate=0", "sample_rate"),
        ("encoding=linear16&sample_rate=16000&channels=9", "channels"),
        ("language=klingon", "language"),
        ("detect_language=klingon", "detect_language"),
        ("punctuate=maybe", "punctuate"),
        ("utt_split=1e9", "utt_split"),
        (f"keyterm={'x' * 101}", "keyterm"),
        ("&".join(f"keyterm={number}" for number in range(101)), "keyterm"),
        ("keyterm=a%00b", "keyterm"),
        (f"tag={'x' * 201}", "tag"),
    ],
)
def test_value_that_cannot_be_is_refused_by_name(text, param):
    with pytest.raises(InvalidField) as caught:
        read(text)
    assert caught.value.data["param"] == param


@pytest.mark.parametrize("text", ["redact=pci", "redact=true", "callback=https%3A%2F%2Fexample.com"])
def test_what_a_caller_relies_on_is_refused_and_not_left_out(text):
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert caught.value.data["param"] == text.partition("=")[0]
    assert read("redact=false").warnings == ()


def test_whatever_has_no_effect_is_named():
    asked = read("numerals=true&filler_words=false&summarize=v2&nonsense=1&langauge=en&search=word&encoding=opus")
    assert [(one["parameter"], one["type"]) for one in asked.warnings] == [
        ("numerals", "unsupported_parameter"),
        ("search", "unsupported_parameter"),
        ("summarize", "unsupported_parameter"),
        ("langauge", "unknown_parameter"),
        ("nonsense", "unknown_parameter"),
        ("encoding", "unsupported_parameter"),
    ]


def test_tags_and_extra_are_kept_for_the_answer():
    asked = read("tag=one&tag=two&extra=order:7:a&extra=plain")
    assert asked.tags == ("one", "two")
    assert asked.extra == (("order", "7:a"), ("plain", ""))
