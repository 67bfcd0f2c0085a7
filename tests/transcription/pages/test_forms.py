"""Forms of the transcription pages: what of them reaches the job, and which error stands at which field."""

import uuid

import pytest

from transcription import recognition
from transcription.answers import MAX_QUESTION_CHARACTERS
from transcription.pages.forms import CONTRADICTIONS, AskForm, UploadForm, model_label
from transcription.speech.options import MAX_HOTWORD_LENGTH, MAX_HOTWORDS, MAX_SPEAKERS, TranscriptionOptions


def form(**fields):
    return UploadForm({"model": "standard", "speakers": "on", **fields})


def options_of(**fields):
    sent = form(**fields)
    assert sent.is_valid(), sent.errors
    return sent.options


@pytest.fixture
def whisper(settings):
    """The site recognises 99 languages and translates."""
    settings.ENGINE = "faster_whisper"


def test_empty_form_asks_for_speakers_and_word_times_and_nothing_else():
    assert options_of() == TranscriptionOptions(diarize=True)
    assert options_of().word_timestamps
    assert not options_of(speakers="").diarize


def test_every_field_reaches_the_options(whisper):
    assert options_of(
        model="premium",
        language="es",
        min_speakers="2",
        max_speakers="3",
        task="translate",
        hotwords="Voxsite",
        prompt="A talk.",
    ) == TranscriptionOptions(
        language="es",
        diarize=True,
        min_speakers=2,
        max_speakers=3,
        task="translate",
        hotwords=("Voxsite",),
        prompt="A talk.",
    )
    assert options_of(channels="split", mixed_languages="on").channels == "split"
    assert options_of(mixed_languages="on").mixed_languages
    assert options_of(num_speakers="4").num_speakers == 4


def test_terms_are_trimmed_counted_once_and_in_their_order():
    assert options_of(hotwords=" Voxsite ,, Ana Gómez,Voxsite, ").hotwords == ("Voxsite", "Ana Gómez")


@pytest.mark.parametrize(
    ("terms", "is_valid"),
    [
        (["x" * MAX_HOTWORD_LENGTH], True),
        (["x" * (MAX_HOTWORD_LENGTH + 1)], False),
        ([str(number) for number in range(MAX_HOTWORDS)], True),
        ([str(number) for number in range(MAX_HOTWORDS + 1)], False),
    ],
)
def test_terms_are_bounded(terms, is_valid):
    assert form(hotwords=",".join(terms)).is_valid() is is_valid


# Fields of the form and the rule that they break.
BROKEN_RULES = [
    ({"num_speakers": "2", "max_speakers": "3"}, "exact_or_range"),
    ({"channels": "split", "num_speakers": "2"}, "count_or_channels"),
    ({"speakers": "", "num_speakers": "2"}, "count_needs_diarize"),
    ({"min_speakers": "3", "max_speakers": "2"}, "fewest_over_most"),
    ({"language": "en", "mixed_languages": "on"}, "one_language_or_mixed"),
]


@pytest.mark.parametrize(("fields", "rule"), BROKEN_RULES)
def test_contradiction_is_told_in_the_words_of_the_page(fields, rule):
    sent = form(**fields)
    ((messages),) = sent.errors.values()
    assert messages == [CONTRADICTIONS[rule]]


def test_every_contradiction_is_tried_above():
    assert {rule for _, rule in BROKEN_RULES} == set(CONTRADICTIONS)


def test_what_the_model_cannot_do_is_told_at_its_field(settings):
    settings.ENGINE = "pocketsphinx"
    assert form(task="translate").errors == {"task": ["This model cannot translate."]}
    offered = dict(form().fields["language"].choices)
    assert list(offered) == ["", "en"]


def test_languages_are_sorted_by_name_after_detection(whisper):
    codes = [code for code, _ in form().fields["language"].choices]
    names = [name for _, name in form().fields["language"].choices]
    assert names[0] == "Auto-detect"
    assert names[1:] == sorted(names[1:])
    assert set(codes[1:]) == recognition.languages()


@pytest.mark.parametrize(
    ("fields", "has_more"),
    [
        ({}, False),
        ({"language": "en"}, False),
        ({"prompt": "A talk."}, True),
        ({"num_speakers": "0"}, True),
        ({"max_speakers": str(MAX_SPEAKERS + 1)}, True),
    ],
)
def test_further_options_are_shown_once_one_was_used(fields, has_more):
    assert form(task="transcribe", channels="mix", **fields).has_more is has_more


def test_new_form_folds_the_further_options():
    assert not UploadForm().has_more


def test_model_is_shown_with_its_price_of_today(settings):
    settings.PRICES_PER_HOUR_MICROS = {"standard": 300_000, "house": 1_000_000}
    assert model_label("standard") == "Standard, $0.30 per hour (fast, for clear recordings)"
    assert model_label("house") == "House, $1.00 per hour"
    assert [value for value, _ in form().fields["model"].choices] == ["standard", "house"]
    assert list(form(model="premium").errors) == ["model"]


def ask(**fields):
    return AskForm({"token": str(uuid.uuid4()), "act": "ask", "question": "Who spoke?", **fields})


def test_summary_needs_no_question_and_a_question_needs_one():
    assert ask().is_valid()
    assert ask(act="summarise", question="").is_valid()
    assert ask(question=" ").errors == {"question": ["Enter a question."]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token", ""),
        ("token", "mine"),
        ("act", "sing"),
        ("question", "x" * (MAX_QUESTION_CHARACTERS + 1)),
        ("question", "a\0b"),
    ],
)
def test_bad_request_has_one_error_at_its_field(field, value):
    sent = ask(**{field: value})
    assert {name: len(messages) for name, messages in sent.errors.items()} == {field: 1}
