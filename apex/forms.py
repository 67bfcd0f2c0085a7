"""The form of the playground."""

import itertools
import json
from typing import Any

from django import forms

from apex import catalogue

# The fields of a form may have 1 MiB together (DATA_UPLOAD_MAX_MEMORY_SIZE), and one character can take nine bytes.
MAX_MESSAGE_LENGTH = 60_000
MAX_SYSTEM_LENGTH = 20_000
# Of the turns before, as JSON.
MAX_HISTORY_LENGTH = 30_000
DEFAULT_MAX_TOKENS = 1000


BROKEN_HISTORY = "The earlier messages could not be read. Start a new conversation."


def _model_choices() -> list[tuple[str, str]]:
    return [(name, name) for name in catalogue.models()]


class ChatForm(forms.Form):
    """One message to a model, with the turns before it and the options of the answer."""

    message = forms.CharField(
        label="Message", max_length=MAX_MESSAGE_LENGTH, widget=forms.Textarea(attrs={"rows": 4, "autofocus": True})
    )
    # A JSON list of [message, answer].
    history = forms.CharField(required=False, max_length=MAX_HISTORY_LENGTH, widget=forms.HiddenInput)
    system = forms.CharField(
        label="System prompt",
        required=False,
        max_length=MAX_SYSTEM_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Who the model is and how it should answer.",
    )
    model = forms.ChoiceField(choices=_model_choices)
    # Without one, the model's own is used: some models refuse any.
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=2,
        initial=lambda: next(iter(catalogue.models().values())).temperature,
        widget=forms.NumberInput(attrs={"step": "0.1"}),
    )
    max_tokens = forms.IntegerField(label="Max tokens", min_value=1, initial=DEFAULT_MAX_TOKENS)
    # New for every page view. A form that is sent twice, for example by a reload, is answered and charged once.
    token = forms.UUIDField(widget=forms.HiddenInput)

    def clean_history(self) -> list[tuple[str, str]]:
        text = self.cleaned_data["history"]
        try:
            turns = [(said, answered) for said, answered in json.loads(text)] if text else []
            for part in itertools.chain.from_iterable(turns):
                # Half a surrogate pair, which JSON may have, is in no encoding.
                str.encode(part)
        except (ValueError, TypeError, RecursionError):
            raise forms.ValidationError(BROKEN_HISTORY) from None
        return turns

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        model = catalogue.models().get(chosen.get("model", ""))
        if model is not None and chosen.get("max_tokens", 0) > model.max_completion_tokens:
            self.add_error("max_tokens", f"The maximum for this model is {model.max_completion_tokens:,} tokens.")
        return chosen

    @property
    def body(self) -> dict[str, Any]:
        """The chat request as OpenAI's API defines it."""
        chosen = self.cleaned_data
        system = [{"role": "system", "content": chosen["system"]}] if chosen["system"] else []
        before = [
            {"role": role, "content": content}
            for turn in chosen["history"]
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
        return {
            "model": chosen["model"],
            "messages": [*system, *before, {"role": "user", "content": chosen["message"]}],
            "max_tokens": chosen["max_tokens"],
            **({} if chosen["temperature"] is None else {"temperature": chosen["temperature"]}),
        }
