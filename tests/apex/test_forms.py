"""The form of the playground."""

import uuid

import pytest

from apex import catalogue
from apex.forms import MAX_HISTORY_LENGTH, MAX_MESSAGE_LENGTH, MAX_SYSTEM_LENGTH, ChatForm


def form(**changed):
    fields = {
        "message": "Hello",
        "system": "",
        "model": "apex-latest",
        "temperature": "0.7",
        "max_tokens": "100",
        "token": str(uuid.uuid4()),
    }
    return ChatForm(fields | changed)


def test_request_is_that_of_openais_api():
    sent = form(system="Be brief.", temperature="0.2")
    assert sent.is_valid()
    assert sent.body == {
        "model": "apex-latest",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 0.2,
        "max_tokens": 100,
    }


def test_temperature_may_be_left_to_the_model(settings):
    sent = form(temperature="")
    assert sent.is_valid()
    assert "temperature" not in sent.body
    assert ChatForm().get_initial_for_field(ChatForm().fields["temperature"], "temperature") == 0.7
    settings.APEX_MODELS = {
        name: {field: value for field, value in entry.items() if field != "temperature"}
        for name, entry in settings.APEX_MODELS.items()
    }
    assert ChatForm().get_initial_for_field(ChatForm().fields["temperature"], "temperature") is None


def test_empty_system_prompt_is_no_message():
    sent = form()
    assert sent.is_valid()
    assert sent.body["messages"] == [{"role": "user", "content": "Hello"}]


def test_limit_of_tokens_is_that_of_the_model(settings):
    highest = catalogue.find("apex-latest").max_completion_tokens
    assert form(max_tokens=str(highest)).is_valid()
    refused = form(max_tokens=str(highest + 1))
    assert refused.errors == {"max_tokens": [f"The maximum for this model is {highest:,} tokens."]}
    settings.APEX_MODELS = {name: {**entry, "max_completion_tokens": 9} for name, entry in settings.APEX_MODELS.items()}
    assert list(form(max_tokens="10").errors) == ["max_tokens"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message", " "),
        ("message", "x" * (MAX_MESSAGE_LENGTH + 1)),
        ("system", "x" * (MAX_SYSTEM_LENGTH + 1)),
        ("history", "x"),
        ("history", '[["a", 1]]'),
        ("history", '[["a", "\\ud83d"]]'),
        ("history", "x" * (MAX_HISTORY_LENGTH + 1)),
        ("model", "gpt-9"),
        ("temperature", "2.1"),
        ("temperature", "-0.1"),
        ("max_tokens", "0"),
        ("max_tokens", ""),
        ("token", "mine"),
        ("token", ""),
    ],
)
def test_bad_value_is_told_at_its_field(field, value):
    assert list(form(**{field: value}).errors) == [field]


def test_form_with_the_longest_texts_fits_into_a_request(settings):
    """One character can take nine bytes in a form: "%F0%9F%98" and so on, three for each byte of UTF-8."""
    assert 9 * (MAX_MESSAGE_LENGTH + MAX_SYSTEM_LENGTH + MAX_HISTORY_LENGTH) < settings.DATA_UPLOAD_MAX_MEMORY_SIZE
