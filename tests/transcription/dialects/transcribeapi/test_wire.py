"""The fields of `POST /transcribe`: what both generations of the packages send, and what is refused by name."""

import pytest

from accounts.errors import InvalidField
from transcription.dialects.transcribeapi import wire
from transcription.dialects.transcribeapi.errors import Refused
from transcription.dialects.transcribeapi.wire import View
from transcription.speech.capabilities import ModelCapabilities

OFFER = ModelCapabilities("faster-whisper/base", frozenset({"en", "de", "yue"}), translates=True)
ENGLISH = ModelCapabilities("pocketsphinx", frozenset({"en"}), translates=False)


def read(*, offer=OFFER, **fields):
    return wire.read(fields, capabilities_of=lambda _: offer)


def test_nothing_is_required():
    asked = read()
    assert asked.model == "whisper-large-v3-turbo"
    assert asked.options.language is None
    assert (asked.options.task, asked.options.diarize) == ("transcribe", False)
    assert asked.view == View()


def test_every_field_of_the_documentation():
    asked = read(
        model="premium",
        language="de",
        task="translate",
        vad_filter="true",
        initial_prompt="Voxsite, Redis",
        vtt_granularity="word",
        exclude="vtt,segments",
        reference_id="call 7",
        webhook_url="https://example.com/hook",
        url="https://example.com/a.mp3",
    )
    assert (asked.model, asked.options.language, asked.options.task) == ("premium", "de", "translate")
    assert asked.options.prompt == "Voxsite, Redis"
    assert asked.view == View(excluded=frozenset({"vtt", "segments"}), granularity="word", reference="call 7")
    assert (asked.url, asked.webhook_url) == ("https://example.com/a.mp3", "https://example.com/hook")


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("auto", None),
        ("", None),
        (" de ", "de"),
        ("yue", "yue"),
        ("deu", "de"),
    ],
)
def test_language_as_the_older_package_sends_it(tag, code):
    assert read(language=tag).options.language == code


@pytest.mark.parametrize("text", ["vtt, segments", " vtt ,segments,", "VTT,segments", "segments,vtt,vtt"])
def test_exclude_with_blanks_as_the_older_package_sends_it(text):
    assert read(exclude=text).view.excluded == {"vtt", "segments"}


def test_repeated_fields_and_brackets_of_a_form():
    form = [("exclude[]", ["vtt", "billing"]), ("language", ["de", "en"]), ("file", [object()])]
    assert wire.read_form(form) == {"exclude": "vtt,billing", "language": "en"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "klingon"),
        ("task", "sing"),
        ("vad_filter", "maybe"),
        ("vtt_granularity", "letter"),
        ("exclude", "vtt,everything"),
        ("reference_id", "x" * 256),
        ("initial_prompt", "a\x00b"),
        ("webhook_url", "http://a\x00b"),
    ],
)
def test_wrong_value_is_refused_by_name(field, value):
    with pytest.raises(InvalidField) as caught:
        read(**{field: value})
    assert caught.value.data["param"] == field


def test_translation_needs_a_model_that_translates():
    with pytest.raises(InvalidField) as caught:
        read(task="translate", offer=ENGLISH)
    assert caught.value.data["param"] == "task"


def test_long_prompt_is_cut_to_its_end():
    assert read(initial_prompt="x" * 5000 + "end").options.prompt.endswith("end")


def test_view_survives_storage():
    view = View(excluded=frozenset({"vtt"}), granularity="word", reference="r")
    assert View.from_dict(view.to_dict()) == view
    assert View.from_dict({}) == View()


def test_limits_of_a_call_that_waits_are_inclusive():
    wire.require_sync_size(30 * 1024**2)
    wire.require_sync_length(600_000)
    with pytest.raises(Refused) as caught:
        wire.require_sync_size(30 * 1024**2 + 1)
    assert caught.value.code == "file_too_large"
    with pytest.raises(Refused) as caught:
        wire.require_sync_length(600_001)
    assert caught.value.code == "audio_too_long"
