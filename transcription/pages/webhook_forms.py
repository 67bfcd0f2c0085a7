"""The form of a webhook endpoint. The verbs check the rules."""

from typing import Any

from django import forms

from transcription.models import WebhookEndpoint
from transcription.models.webhooks import MAX_URL_LENGTH
from transcription.webhooks import endpoints
from transcription.webhooks.targets import MAX_HEADER_NAME_LENGTH, MAX_HEADER_VALUE_LENGTH

EVENT_HELP = {
    "job.completed": "A transcript is ready, or all transcripts of a batch.",
    "job.failed": "No recording of a job could be transcribed.",
    "job.canceled": "A job was canceled before any of it was ready.",
    "balance.low": "The balance fell below your low-balance alert, which you set under Billing.",
    "limit.alert": "A part of a monthly limit is spent. Programs choose the parts with PUT /v1/alerts.",
    "topup.completed": "A payment was added to the balance.",
}


class EndpointForm(forms.Form):
    """An endpoint to register, or to change."""

    url = forms.CharField(
        label="URL",
        max_length=MAX_URL_LENGTH,
        help_text="A public address, on port 80 or 443.",
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/webhooks", "autocomplete": "off"}),
    )
    description = forms.CharField(
        required=False,
        max_length=100,
        help_text="Only your organization sees it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    events = forms.MultipleChoiceField(
        choices=[(event.value, event.label) for event in endpoints.EVENTS],
        widget=forms.CheckboxSelectMultiple,
        initial=["job.completed", "job.failed"],
        error_messages={"required": "Choose one or more events."},
    )
    header_name = forms.CharField(
        label="Header",
        required=False,
        max_length=MAX_HEADER_NAME_LENGTH,
        widget=forms.TextInput(attrs={"placeholder": "Authorization", "autocomplete": "off"}),
    )
    header_value = forms.CharField(
        label="Value",
        required=False,
        max_length=MAX_HEADER_VALUE_LENGTH,
        help_text="Stored encrypted. You will not see it again.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, endpoint: WebhookEndpoint | None = None, **kwargs: Any) -> None:
        if endpoint is not None:
            kwargs["initial"] = {
                "url": endpoint.url,
                "description": endpoint.description,
                "events": endpoint.events,
                "header_name": endpoint.header_name,
            }
        super().__init__(*args, **kwargs)
        if endpoint is not None and endpoint.header_name:
            self.fields["header_value"].widget.attrs["placeholder"] = "Unchanged"

    @property
    def event_choices(self) -> list[tuple[str, str, str, bool]]:
        """Return (value, label, sentence, is chosen) of each event."""
        chosen = self["events"].value() or []
        return [
            (event.value, event.label, EVENT_HELP[event.value], event.value in chosen) for event in endpoints.EVENTS
        ]

    @property
    def has_header(self) -> bool:
        """Tell whether a header is given, so that the page shows its fields."""
        return bool(self["header_name"].value() or self["header_value"].value()) or not {
            "header_name",
            "header_value",
        }.isdisjoint(self.errors)
