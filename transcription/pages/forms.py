"""Forms of the transcription pages: upload options, and questions about a transcript."""

from typing import Any

from django import forms

from billing import money, tariff
from transcription import jobs, outbound, recognition
from transcription.answers import MAX_QUESTION_CHARACTERS
from transcription.public_addresses import MAX_URL_LENGTH
from transcription.speech.errors import OptionError
from transcription.speech.formats import FORMATS
from transcription.speech.formats.options import BOUNDS, DEFAULT, FormatOptions
from transcription.speech.options import (
    MAX_HOTWORD_LENGTH,
    MAX_HOTWORDS,
    MAX_PROMPT_LENGTH,
    MAX_SPEAKERS,
    TranscriptionOptions,
)

MODEL_WORDS = {"standard": "fast, for clear recordings", "premium": "slower, for difficult recordings"}
TASKS = (("transcribe", "Same as spoken"), ("translate", "English (translated)"))
CHANNELS = (("mix", "Mixed together"), ("split", "Separate, one speaker per channel"))
# Messages for options that contradict each other, by the `rule` of the OptionError.
CONTRADICTIONS = {
    "exact_or_range": "Enter the exact number or a range, not both.",
    "count_or_channels": "Each channel is one speaker: leave the number of speakers empty.",
    "count_needs_diarize": "Select “Label speakers”, or leave the number of speakers empty.",
    "fewest_over_most": "This is more than the maximum.",
    "one_language_or_mixed": "Choose “Auto-detect” as the language for this.",
}
# What a transcript can be downloaded as, the usual one first.
DOWNLOADS = (
    ("txt", "Text"),
    ("docx", "Word document"),
    ("srt", "Subtitles, SRT"),
    ("vtt", "Subtitles, WebVTT"),
    ("tsv", "Table, TSV"),
    ("json", "JSON with words and times"),
)
FORMAT_WORDS = {"min_over_max": "This is more than the maximum."}


def model_label(model: str) -> str:
    """Return the model with its price: "Standard, $0.30 per hour"."""
    price = f"{model.capitalize()}, {money.display_text(tariff.rate_of(model))} per hour"
    return f"{price} ({MODEL_WORDS[model]})" if model in MODEL_WORDS else price


def _model_choices() -> list[tuple[str, str]]:
    return [(model, model_label(model)) for model in tariff.models()]


def _language_choices() -> list[tuple[str, str]]:
    """Return "Auto-detect", then every supported language, sorted by name."""
    return [("", "Auto-detect"), *recognition.language_names().items()]


class UploadForm(forms.Form):
    """The options for transcribing files, and a link to one. Files that are sent are read from the request.

    Word times are no option, because the transcript's page and its subtitles need them.
    """

    link = forms.CharField(
        label="Link to a recording",
        required=False,
        max_length=MAX_URL_LENGTH,
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "off"}),
        help_text="The address of the audio or video file itself, not of a page that plays it. We download it, reserve "
        "its price when its length is known, and charge nothing if it cannot be downloaded.",
    )
    model = forms.ChoiceField(widget=forms.RadioSelect, initial="standard", choices=_model_choices)
    language = forms.ChoiceField(required=False, choices=_language_choices)
    speakers = forms.BooleanField(label="Label speakers", required=False, initial=True)
    # --- More options
    num_speakers = forms.IntegerField(
        label="Number of speakers",
        required=False,
        min_value=1,
        max_value=MAX_SPEAKERS,
        help_text="If you know it. Or enter a range:",
    )
    min_speakers = forms.IntegerField(label="Minimum", required=False, min_value=1, max_value=MAX_SPEAKERS)
    max_speakers = forms.IntegerField(label="Maximum", required=False, min_value=1, max_value=MAX_SPEAKERS)
    task = forms.ChoiceField(label="Output language", required=False, choices=TASKS, initial="transcribe")
    mixed_languages = forms.BooleanField(label="Mixed languages", required=False)
    channels = forms.ChoiceField(
        label="Channels",
        required=False,
        choices=CHANNELS,
        initial="mix",
        help_text="For recordings with one microphone per speaker. Each channel is billed as a separate recording.",
    )
    accept_truncated = forms.BooleanField(
        label="Accept incomplete files",
        required=False,
        help_text="If a file was cut off, its beginning is transcribed and billed.",
    )
    hotwords = forms.CharField(
        label="Names and terms", required=False, help_text="Comma-separated, spelled as you want them."
    )
    prompt = forms.CharField(
        label="Context",
        required=False,
        max_length=MAX_PROMPT_LENGTH,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="The topic, or what was said before.",
    )
    MORE = (
        "num_speakers",
        "min_speakers",
        "max_speakers",
        "task",
        "mixed_languages",
        "channels",
        "accept_truncated",
        "hotwords",
        "prompt",
    )

    @property
    def has_more(self) -> bool:
        """Tell whether any of the further options was used, so that the page shows them."""
        return self.is_bound and not {*self.changed_data, *self.errors}.isdisjoint(self.MORE)

    @property
    def options(self) -> TranscriptionOptions:
        """Return the chosen options. Raises OptionError for contradictions, which `clean` reports."""
        chosen = self.cleaned_data
        options = TranscriptionOptions(
            language=chosen.get("language") or None,
            prompt=chosen.get("prompt", ""),
            hotwords=chosen.get("hotwords", ()),
            task="translate" if chosen.get("task") == "translate" else "transcribe",
            diarize=chosen["speakers"],
            num_speakers=chosen.get("num_speakers"),
            min_speakers=chosen.get("min_speakers"),
            max_speakers=chosen.get("max_speakers"),
            channels="split" if chosen.get("channels") == "split" else "mix",
            mixed_languages=chosen["mixed_languages"],
            accept_truncated=chosen["accept_truncated"],
        )
        options.refuse_contradictions()
        return options

    def clean_link(self) -> str:
        link: str = self.cleaned_data["link"]
        if link:
            # What a look-up finds out is known later, and said by the job.
            try:
                outbound.parse(link)
            except outbound.AddressRefused as error:
                raise forms.ValidationError(str(error)) from error
        return link

    def clean_hotwords(self) -> tuple[str, ...]:
        parts = (part.strip() for part in self.cleaned_data["hotwords"].split(","))
        terms = tuple(dict.fromkeys(part for part in parts if part))
        if len(terms) > MAX_HOTWORDS or any(len(term) > MAX_HOTWORD_LENGTH for term in terms):
            raise forms.ValidationError(f"Enter up to {MAX_HOTWORDS} terms of up to {MAX_HOTWORD_LENGTH} characters.")
        return terms

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        offer = recognition.capabilities().get(chosen.get("model", ""))
        if offer is not None and chosen.get("language") and chosen["language"] not in offer.languages:
            self.add_error("language", "This model does not support this language.")
        if offer is not None and chosen.get("task") == "translate" and not offer.translates:
            self.add_error("task", "This model cannot translate.")
        try:
            _ = self.options
        except OptionError as error:
            self.add_error(error.data["param"], CONTRADICTIONS[error.data["rule"]])
        return chosen


class AskForm(forms.Form):
    """A request for a summary, or a question about a transcript."""

    # Generated with the page, so that a form that is sent twice is one request.
    token = forms.UUIDField(widget=forms.HiddenInput)
    act = forms.ChoiceField(choices=(("summarise", "Summarize"), ("ask", "Ask")), widget=forms.HiddenInput)
    question = forms.CharField(
        label="Ask about this transcript",
        required=False,
        max_length=MAX_QUESTION_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        if chosen.get("act") == "ask" and not chosen.get("question") and "question" not in self.errors:
            self.add_error("question", "Enter a question.")
        return chosen


class ShareForm(forms.Form):
    """A link to a transcript for people without an account."""

    days = forms.TypedChoiceField(
        label="Works for",
        coerce=int,
        choices=[(days, f"{days} day{'s' if days > 1 else ''}") for days in jobs.LIFETIMES_DAYS],
        initial=7,
    )
    has_audio = forms.BooleanField(label="With the recording", required=False)


def _bounds(name: str) -> dict[str, Any]:
    minimum, maximum = BOUNDS[name]
    return {"min_value": minimum, "max_value": maximum}


class FormatForm(forms.Form):
    """As what a transcript is downloaded, and how it is written. An empty field means the default.

    Fields that the format does not have count for nothing, whatever is in them.
    """

    format = forms.ChoiceField(
        label="Format", required=False, choices=DOWNLOADS, initial=DOWNLOADS[0][0], widget=forms.RadioSelect
    )
    max_chars_per_line = forms.IntegerField(
        label="Characters per line", required=False, **_bounds("max_chars_per_line")
    )
    max_lines = forms.IntegerField(label="Lines per subtitle", required=False, **_bounds("max_lines"))
    min_seconds = forms.FloatField(label="Minimum seconds", required=False, **_bounds("min_seconds"))
    max_seconds = forms.FloatField(label="Maximum seconds", required=False, **_bounds("max_seconds"))
    speaker_labels = forms.ChoiceField(
        label="Speaker names", required=False, choices=(("true", "Shown"), ("false", "Hidden"))
    )
    timestamps = forms.ChoiceField(
        label="Times", required=False, choices=(("", "In Word documents only"), ("true", "Shown"), ("false", "Hidden"))
    )

    def __init__(self, *args: Any, format_name: str = "", **kwargs: Any) -> None:
        """format_name: the format that the address names; without it the form does."""
        super().__init__(*args, **kwargs)
        self._format_name = format_name
        for name in BOUNDS:
            self.fields[name].widget.attrs["placeholder"] = f"{getattr(DEFAULT, name):g}"

    @property
    def subtitle_fields(self) -> list[forms.BoundField]:
        """The fields that subtitles alone have."""
        return [self[name] for name in BOUNDS]

    @property
    def format_name(self) -> str:
        """The key of the chosen format in `FORMATS`."""
        return self._format_name or self.cleaned_data.get("format") or DOWNLOADS[0][0]

    @property
    def options(self) -> FormatOptions:
        """Return what was chosen. Raises OptionError for a contradiction, which `clean` has shown."""
        chosen: dict[str, Any] = {}
        for name in FORMATS[self.format_name].options:
            value = self.cleaned_data.get(name)
            if value not in (None, ""):
                chosen[name] = value != "false" if isinstance(value, str) else value
        return FormatOptions(**chosen)

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        for name in {*self.errors} - {*FORMATS[self.format_name].options, "format"}:
            del self.errors[name]
        try:
            _ = self.options
        except OptionError as error:
            self.add_error(error.data["param"], FORMAT_WORDS.get(error.data.get("rule", ""), error.message))
        return chosen
