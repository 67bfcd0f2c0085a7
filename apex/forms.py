"""What people may ask for on the playground."""

from typing import Any

from django import forms

from apex import catalogue, wire

# All fields of a form together are at most a megabyte, in which a character can take nine bytes.
LONGEST_MESSAGE = 60_000
LONGEST_SYSTEM = 20_000
USUAL_MAX_TOKENS = 1000


class ChatForm(forms.Form):
    """One message, and how it is to be answered."""

    message = forms.CharField(
        label="Message", max_length=LONGEST_MESSAGE, widget=forms.Textarea(attrs={"rows": 6, "autofocus": True})
    )
    system = forms.CharField(
        label="System prompt",
        required=False,
        max_length=LONGEST_SYSTEM,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Who the model is and how it should answer.",
    )
    model = forms.ChoiceField()
    temperature = forms.FloatField(
        min_value=0, max_value=2, initial=wire.DEFAULT_TEMPERATURE, widget=forms.NumberInput(attrs={"step": "0.1"})
    )
    max_tokens = forms.IntegerField(label="Most tokens", min_value=1, initial=USUAL_MAX_TOKENS)
    # The page's own: a form that is sent twice, or loaded anew, is asked and charged once.
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"].choices = [(name, name) for name in catalogue.models()]

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        model = catalogue.models().get(chosen.get("model", ""))
        if model is not None and chosen.get("max_tokens", 0) > model.max_completion_tokens:
            self.add_error("max_tokens", f"This model writes {model.max_completion_tokens:,} tokens at most.")
        return chosen

    @property
    def body(self) -> dict[str, Any]:
        """Return the request in OpenAI's form."""
        chosen = self.cleaned_data
        system = [{"role": "system", "content": chosen["system"]}] if chosen["system"] else []
        return {
            "model": chosen["model"],
            "messages": [*system, {"role": "user", "content": chosen["message"]}],
            "temperature": chosen["temperature"],
            "max_tokens": chosen["max_tokens"],
        }
