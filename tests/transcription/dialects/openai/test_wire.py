import base64

import pytest
from django.http import QueryDict

from accounts.error_types import ErrorType
from accounts.errors import BadRequest, Conflict, InvalidField, MissingField
from transcription.dialects.openai import wire
from transcription.speech.capabilities import ModelCapabilities

WHISPER = ModelCapabilities("whisper", frozenset({"en", "de", "tl", "no", "he"}), translates=True)
ENGLISH = ModelCapabilities("pocketsphinx", frozenset({"en"}), translates=False)


def capabilities_of(model):
    if model == "english":
        return ENGLISH
    if model == "whisper-1":
        return WHISPER
    raise InvalidField("model", "There is no such model.")


def form(query="", **fields):
    return wire.read_form([*QueryDict(query).lists(), *((name, [value]) for name, value in fields.items())])


def asked(query="", *, is_translation=False, **fields):
    return wire.read_asked(
        {"model": ["whisper-1"], **form(query, **fields)},
        capabilities_of=capabilities_of,
        is_translation=is_translation,
    )


def test_defaults():
    plain = asked()
    assert (plain.model, plain.format, plain.is_stream, plain.has_logprobs) == ("whisper-1", "json", False, False)
    assert plain.granularities == {"segment"}
    assert (plain.options.language, plain.options.diarize, plain.options.task) == (None, False, "transcribe")


@pytest.mark.parametrize(
    "query",
    [
        "keywords[]=Hans&keywords[]=Ada",
        "keywords=Hans&keywords=Ada",
        'keywords=["Hans", "Ada"]',
        'keywords[]=["Hans", "Ada"]',
        "keywords[]=Hans&keywords[]=Ada&keywords[]=&keywords[]=Hans",
    ],
)
def test_all_spellings_of_a_list_mean_the_same(query):
    assert asked(query).options.hotwords == ("Hans", "Ada")


def test_model_may_be_named_as_by_those_who_resell_openais():
    assert asked(model="openai/whisper-1").model == "whisper-1"


def test_json_body_means_the_same_as_a_form():
    body = {
        "model": "whisper-1",
        "keywords": ["Hans", "Ada"],
        "stream": True,
        "temperature": 0.2,
        "language": None,
        "input_audio": {"data": "x" * 100},
        "timestamp_granularities": ["word"],
        "chunking_strategy": {"type": "server_vad"},
    }
    read = wire.read_asked(wire.read_json(body), capabilities_of=capabilities_of)
    assert (read.options.hotwords, read.is_stream, read.granularities) == (("Hans", "Ada"), True, {"word"})
    with pytest.raises(BadRequest):
        wire.read_json(["model"])


@pytest.mark.parametrize(("tag", "code"), [("", None), ("auto", None), ("de", "de"), ("deu", "de"), ("de-AT", "de"),
                                           ("fil", "tl"), ("no", "no"), ("he", "he"), ("German", "de")])  # fmt: skip
def test_languages_in_every_spelling(tag, code):
    assert asked(language=tag).options.language == code


@pytest.mark.parametrize("body", [{"prompt": "\ud800"}, {"keywords": ["\udc00"]}, {"\ud800": 1}])
def test_half_a_character_in_json_is_refused(body):
    with pytest.raises(InvalidField) as caught:
        wire.read_json(body)
    caught.value.message.encode()


def test_json_inside_a_form_is_refused_as_well():
    with pytest.raises(InvalidField):
        form(keywords='["\\ud800"]')
    with pytest.raises(InvalidField):
        asked(timestamp_granularities="[" * 20_000)


def test_candidates_of_the_detection():
    assert asked("languages[]=en&languages[]=de-CH").options.languages == ("en", "de")


@pytest.mark.parametrize(
    ("query", "granularities"),
    [
        ("timestamp_granularities[]=word", {"word"}),
        ("timestamp_granularities[]=segment", {"segment"}),
        ("timestamp_granularities=word&timestamp_granularities=segment", {"word", "segment"}),
        ("timestamp_granularities[]=", {"segment"}),
    ],
)
def test_granularities(query, granularities):
    assert asked(query).granularities == granularities


@pytest.mark.parametrize(
    "query",
    [
        "chunking_strategy=auto",
        "chunking_strategy[type]=server_vad&chunking_strategy[threshold]=0.5&chunking_strategy[prefix_padding_ms]=300",
        "stream=false&diarize=false",
        "temperature=0",
        "temperature=0.00",
        "temperature=1e-05",
        "user=ann&n_threads=4&logprobs=true",
    ],
)
def test_what_clients_send_and_nobody_needs_changes_nothing(query):
    assert asked(query) == asked()


def test_speakers_are_told_apart_where_they_are_shown():
    assert asked(response_format="diarized_json").options.diarize
    assert asked(diarize="true").options.diarize


def test_end_of_a_long_prompt_counts():
    assert asked(prompt="a" * 4000 + "end").options.prompt.endswith("aend")
    assert len(asked(prompt="a" * 5000).options.prompt) == wire.MAX_PROMPT_LENGTH


def test_translation_is_into_english_whatever_language_is_named():
    translated = asked(language="en", is_translation=True)
    assert (translated.options.task, translated.options.language) == ("translate", None)
    with pytest.raises(InvalidField) as caught:
        asked(model="english", is_translation=True)
    assert caught.value.data["param"] == "model"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("response_format=docx", "response_format"),
        ("timestamp_granularities[]=sentence", "timestamp_granularities"),
        ("include[]=usage", "include"),
        ("stream=maybe", "stream"),
        ("temperature=hot", "temperature"),
        ("temperature=nan", "temperature"),
        ("language=xx", "language"),
        ("languages[]=en&languages[]=xx", "languages"),
        ("languages[]=en&language=de", "languages"),
        ("prompt=a%00b", "prompt"),
        ("keywords[]=" + "x" * 101, "keywords"),
        ("&".join(f"keywords[]={number}" for number in range(101)), "keywords"),
        ("known_speaker_names[]=Ann", "known_speaker_names"),
        ("known_speaker_references[]=data:audio/wav;base64,AAAA", "known_speaker_references"),
        ("model=gpt-9", "model"),
    ],
)
def test_wrong_values_are_refused_by_name(query, param):
    with pytest.raises(InvalidField) as caught:
        asked(query)
    assert caught.value.data["param"] == param


def test_model_is_required():
    with pytest.raises(MissingField) as caught:
        wire.read_asked({}, capabilities_of=capabilities_of)
    assert caught.value.data["param"] == "model"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"url": ["https://a"]}, "https://a"),
        ({"file_url": [" https://b "]}, "https://b"),
        ({"url": [""], "file_url": ["https://b"]}, "https://b"),
        ({"url": ["https://a"], "file_url": ["https://b"]}, "https://a"),
        ({"file": ["https://a"]}, "https://a"),
        ({"url": [" "]}, ""),
        ({}, ""),
    ],
)
def test_address_in_place_of_a_file(fields, url):
    """Groq's client sends `url`, Mistral's `file_url`, Together's a text called `file`."""
    assert wire.read_url(fields) == url


def test_recording_in_a_json_body():
    data = base64.b64encode(b"RIFF").decode()
    assert wire.read_input_audio({"input_audio": {"data": data, "format": "wav"}}) == (b"RIFF", "audio.wav")
    assert wire.read_input_audio({"input_audio": {"data": f"data:audio/wav;base64,{data}"}}) == (b"RIFF", "audio.bin")
    assert wire.read_input_audio({"input_audio": {"data": data, "format": "../../etc"}})[1] == "audio.bin"


@pytest.mark.parametrize("audio", ["text", {}, {"data": 7}, {"data": "not base64!"}, {"data": "é"}, []])
def test_broken_recording_in_a_json_body_is_refused(audio):
    with pytest.raises(InvalidField) as caught:
        wire.read_input_audio({"input_audio": audio})
    assert caught.value.data["param"] == "input_audio"


def test_json_body_without_a_recording_names_what_is_missing():
    with pytest.raises(MissingField):
        wire.read_input_audio({"model": "whisper-1"})


def test_errors_are_objects_with_a_message():
    shown = wire.show_error(InvalidField("model", "No."), request_id="req_1")
    assert shown == {
        "error": {"message": "No.", "type": "invalid_field", "code": "invalid_field", "param": "model",
                  "request_id": "req_1"}
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("error_type", ErrorType)
def test_code_of_an_error_is_a_word(error_type):
    error = wire.show_error(Conflict("x", error_type=error_type), request_id="req_1")["error"]
    assert error["code"] == error["type"] == error_type
    assert error["param"] is None
