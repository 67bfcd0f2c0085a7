"""What people may choose on the upload page."""

from typing import Any

from django import forms
from django.conf.locale import LANG_INFO

from billing import money, tariff
from transcription import recognition
from transcription.speech.options import TranscriptionOptions

MODEL_WORDS = {"standard": "fast, for clear recordings", "premium": "slower, for difficult recordings"}


class UploadForm(forms.Form):
    """How to transcribe the files. The files themselves are read from the request."""

    model = forms.ChoiceField(widget=forms.RadioSelect, initial="standard")
    language = forms.ChoiceField(required=False)
    speakers = forms.BooleanField(label="Tell speakers apart", required=False, initial=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"].choices = [(model, model_label(model)) for model in tariff.models()]
        self.fields["language"].choices = [("", "Detect it"), *language_choices()]

    @property
    def options(self) -> TranscriptionOptions:
        return TranscriptionOptions(
            language=self.cleaned_data["language"] or None, diarize=self.cleaned_data["speakers"]
        )


def language_choices() -> list[tuple[str, str]]:
    """Return (code, English name) of every language that can be asked for, by name."""
    named = ((code, str(LANG_INFO.get(code, {}).get("name", code))) for code in recognition.languages())
    return sorted(named, key=lambda choice: choice[1])


def model_label(model: str) -> str:
    """Return the model with its price: "Standard, $0.30 per hour"."""
    price = f"{model.capitalize()}, {money.display_text(tariff.rate_of(model))} per hour"
    return f"{price} ({MODEL_WORDS[model]})" if model in MODEL_WORDS else price
