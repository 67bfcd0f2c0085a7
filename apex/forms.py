"""The form of the playground."""

from typing import Any

from django import forms

from apex import catalogue, wire

# The fields of a form may have 1 MiB together (DATA_UPLOAD_MAX_MEMORY_SIZE), and one character can take nine bytes.
MAX_MESSAGE_LENGTH = 60_000
MAX_SYSTEM_LENGTH = 20_000
DEFAULT_MAX_TOKENS = 1000


def _model_choices() -> list[tuple[str, str]]:
    return [(name, name) for name in catalogue.models()]


class ChatForm(forms.Form):
    """One message to a model, with the options of the answer."""

    message = forms.CharField(
        label="Message", max_length=MAX_MESSAGE_LENGTH, widget=forms.Textarea(attrs={"rows": 6, "autofocus": True})
    )
    system = forms.CharField(
        label="System prompt",
        required=False,
        max_length=MAX_SYSTEM_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Who the model is and how it should answer.",
    )
    model = forms.ChoiceField(choices=_model_choices)
    temperature = forms.FloatField(
        min_value=0, max_value=2, initial=wire.DEFAULT_TEMPERATURE, widget=forms.NumberInput(attrs={"step": "0.1"})
    )
    max_tokens = forms.IntegerField(label="Max tokens", min_value=1, initial=DEFAULT_MAX_TOKENS)
    # New for every page view. A form that is sent twice, for example by a reload, is answered and charged once.
    token = forms.UUIDField(widget=forms.HiddenInput)

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
        return {
            "model": chosen["model"],
            "messages": [*system, {"role": "user", "content": chosen["message"]}],
            "temperature": chosen["temperature"],
            "max_tokens": chosen["max_tokens"],
        }
