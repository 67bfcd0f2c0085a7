"""The form of an endpoint."""

from transcription.models import WebhookEndpoint
from transcription.pages.webhook_forms import EVENT_HELP, EndpointForm
from transcription.webhooks import endpoints


def test_every_event_is_explained():
    assert set(EVENT_HELP) == {str(event) for event in endpoints.EVENTS}


def test_new_endpoint_is_offered_the_usual_events():
    chosen = [value for value, *_, is_chosen in EndpointForm().event_choices if is_chosen]
    assert chosen == ["job.completed", "job.failed"]
    assert not EndpointForm().has_header


def test_form_of_an_endpoint_has_its_settings_and_not_its_secret():
    row = WebhookEndpoint(url="https://a.example/", events=["balance.low"], header_name="X-Key", header_value="stored")
    form = EndpointForm(endpoint=row)
    assert [value for value, *_, is_chosen in form.event_choices if is_chosen] == ["balance.low"]
    assert form.has_header
    shown = str(form)
    assert "stored" not in shown
    assert "Unchanged" in shown


def test_secret_is_not_shown_again_after_a_mistake():
    form = EndpointForm({"url": "", "events": ["job.failed"], "header_name": "X-Key", "header_value": "secret"})
    assert not form.is_valid()
    assert "secret" not in str(form)
    assert form.has_header


def test_events_must_be_chosen():
    form = EndpointForm({"url": "https://a.example/"})
    assert form.errors["events"] == ["Choose one or more events."]
