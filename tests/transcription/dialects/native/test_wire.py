import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import InvalidField
from transcription.dialects.native import wire
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.engines.whisper_languages import LANGUAGES
from transcription.speech.formats.options import FormatOptions
from transcription.speech.options import TranscriptionOptions

OFFERS = {
    "standard": ModelCapabilities(engine="faster-whisper/turbo", languages=frozenset({"en", "es"}), translates=False),
    "premium": ModelCapabilities(
        engine="faster-whisper/large", languages=frozenset({"en", "es", "de"}), translates=True
    ),
}


def read(**fields):
    return wire.read_options(fields, offers=OFFERS)


def test_nothing_asked_means_the_seeds_defaults():
    model, options = read()
    assert model == "standard"
    assert options == TranscriptionOptions()


def test_every_field_arrives():
    model, options = read(
        model="premium",
        language="ES",
        task="translate",
        prompt="names",
        hotwords="Voxsite, Ana Gómez\nVoxsite,,",
        word_timestamps="false",
        min_speakers="1",
        max_speakers="3",
    )
    assert model == "premium"
    assert options == TranscriptionOptions(
        language="es",
        task="translate",
        prompt="names",
        hotwords=("Voxsite", "Ana Gómez"),
        word_timestamps=False,
        min_speakers=1,
        max_speakers=3,
    )
    assert read(num_speakers="2")[1] == TranscriptionOptions(num_speakers=2)
    split = TranscriptionOptions(diarize=False, channels="split", mixed_languages=True)
    assert read(diarize="0", channels="split", mixed_languages="1")[1] == split


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "huge"),
        ("model", "Standard"),
        ("language", "xx"),
        ("language", "english"),
        ("prompt", "x" * 100_000),
        ("diarize", "maybe"),
        ("num_speakers", "0"),
        ("num_speakers", "-1"),
        ("num_speakers", "1.5"),
        ("num_speakers", "\u0663"),
        ("num_speakers", "21"),
        ("num_speakers", "9" * 5000),
        ("max_speakers", "many"),
        ("task", "sing"),
        ("task", "TRANSLATE"),
        ("task", "translate"),
        ("channels", "left"),
        ("word_timestamps", "some"),
        ("mixed_languages", "de"),
        ("language", "de"),
        ("hotwords", "x" * 101),
        ("hotwords", ",".join(map(str, range(101)))),
        ("hotwords", "a\0b"),
    ],
)
def test_bad_value_is_refused_by_name(field, value):
    with pytest.raises(InvalidField) as caught:
        read(**{field: value})
    assert caught.value.data == {"param": field}
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"min_speakers": "3", "max_speakers": "2"}, "min_speakers"),
        ({"num_speakers": "2", "min_speakers": "2"}, "num_speakers"),
        ({"num_speakers": "2", "max_speakers": "2"}, "num_speakers"),
        ({"num_speakers": "2", "channels": "split"}, "num_speakers"),
        ({"max_speakers": "2", "channels": "split"}, "max_speakers"),
        ({"min_speakers": "2", "diarize": "false"}, "min_speakers"),
        ({"mixed_languages": "true", "language": "en"}, "mixed_languages"),
    ],
)
def test_contradiction_is_refused_by_name(fields, param):
    with pytest.raises(InvalidField) as caught:
        read(**fields)
    assert caught.value.data == {"param": param}


def test_model_that_cannot_translate_names_those_that_can():
    with pytest.raises(InvalidField, match="Models that can: premium"):
        read(task="translate")
    with pytest.raises(InvalidField, match=r"'standard' cannot translate\.$"):
        wire.read_options({"task": "translate"}, offers={"standard": OFFERS["standard"]})


def test_hotwords_sent_several_times_add_up_and_of_others_the_last_counts():
    sent = [("hotwords", ["one", "two, three"]), ("task", ["x", "transcribe"]), ("file", [object()]), ("model", [])]
    fields = wire.read_fields(sent)
    assert fields == {"hotwords": "one,two, three", "task": "transcribe"}
    assert read(**fields)[1].hotwords == ("one", "two", "three")


def test_field_that_was_sent_as_a_file_is_not_overlooked():
    with pytest.raises(InvalidField) as caught:
        wire.read_fields([("file", [object()]), ("retention", [object()])])
    assert caught.value.data["param"] == "retention"


@pytest.mark.long
@given(st.dictionaries(st.sampled_from(sorted(wire.FIELDS)), st.text(max_size=40)))
def test_any_text_is_read_or_refused(fields):
    try:
        read(**fields)
    except InvalidField as error:
        assert error.data["param"] in wire.FIELDS  # noqa: PT017 - it may be accepted too


@pytest.mark.parametrize("tag", ["en", "EN", "en-US", "en_gb", "eng", " en "])
def test_language_may_be_a_tag(tag):
    assert read(language=tag)[1].language == "en"


@pytest.mark.parametrize("tag", ["", "auto", "AUTO", "detect", "und"])
def test_language_may_be_left_to_detection(tag):
    assert read(language=tag)[1].language is None


def test_candidates_may_be_tags():
    assert read(languages="en-US,spa,es-MX")[1].languages == ("en", "es")


def test_refusal_of_a_language_says_what_to_write():
    with pytest.raises(InvalidField) as caught:
        read(language="English")
    assert "code 'en'" in caught.value.message
    with pytest.raises(InvalidField, match=r"Languages: en, es\."):
        read(language="tlh")
    offers = {"standard": ModelCapabilities("whisper", frozenset(LANGUAGES), translates=True)}
    with pytest.raises(InvalidField, match="GET /v1/languages") as caught:
        wire.read_options({"language": "tlh"}, offers=offers)
    assert len(caught.value.message) < 200


def test_candidates_of_the_language_are_read():
    for sent in (["en, es"], ["en", "es"], ["ES,en ES"]):
        _, options = wire.read_options(wire.read_fields([("languages", sent)]), offers=OFFERS)
        assert set(options.languages) == {"en", "es"}
    assert read(languages=" ")[1].languages == ()


@pytest.mark.parametrize("fields", [{"languages": "en,xx"}, {"languages": "de"}, {"languages": "en", "language": "en"}])
def test_impossible_candidates_are_refused(fields):
    with pytest.raises(InvalidField) as caught:
        read(**fields)
    assert caught.value.data["param"] == "languages"


def test_options_of_a_format_are_read():
    assert wire.read_format({}) == ("json", FormatOptions())
    query = {
        "format": "srt",
        "max_chars_per_line": "20",
        "max_lines": "1",
        "min_seconds": "0.5",
        "max_seconds": "4",
        "speaker_labels": "false",
    }
    assert wire.read_format(query) == ("srt", FormatOptions(20, 1, 0.5, 4.0, speaker_labels=False))
    assert wire.read_format({"format": "txt", "timestamps": "true"}) == ("txt", FormatOptions(timestamps=True))
    assert wire.read_format({"format": "docx", "timestamps": "false"}) == ("docx", FormatOptions(timestamps=False))
    assert wire.read_format({"format": "vtt", "max_lines": ""}) == ("vtt", FormatOptions())


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"format": "pdf"}, "format"),
        ({"format": "srt", "max_chars_per_line": "9"}, "max_chars_per_line"),
        ({"format": "srt", "max_chars_per_line": "wide"}, "max_chars_per_line"),
        ({"format": "srt", "max_lines": "1.5"}, "max_lines"),
        ({"format": "vtt", "min_seconds": "nan"}, "min_seconds"),
        ({"format": "vtt", "min_seconds": "5", "max_seconds": "4"}, "min_seconds"),
        ({"format": "vtt", "max_seconds": "0"}, "max_seconds"),
        ({"format": "srt", "speaker_labels": "maybe"}, "speaker_labels"),
        ({"format": "txt", "max_lines": "1"}, "max_lines"),
        ({"max_seconds": "4"}, "max_seconds"),
        ({"format": "json", "speaker_labels": "false"}, "speaker_labels"),
        ({"format": "srt", "timestamps": "true"}, "timestamps"),
        ({"format": "docx", "timestamps": "often"}, "timestamps"),
    ],
)
def test_wrong_options_of_a_format_are_refused_by_name(query, param):
    with pytest.raises(InvalidField) as caught:
        wire.read_format(query)
    assert caught.value.data["param"] == param
