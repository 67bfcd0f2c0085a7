"""The pages of webhooks: who may see them, what they change, and what the log shows."""

import re
import uuid

import pytest
from django.utils import timezone

from accounts import encryption
from accounts.sent_forms import FIELD
from tests.transcription.webhooks.conftest import deliver_due, receiver, register  # noqa: F401 - fixtures
from transcription.models import Delivery, DeliveryState, EventType, Fault, WebhookEndpoint
from transcription.pages import webhooks as pages
from transcription.webhooks import endpoints, outbox

pytestmark = pytest.mark.django_db
FIELDS = {"url": "https://example.com/hook", "events": ["job.completed", "balance.low"], "description": "Production"}


@pytest.fixture
def browser(alice, client_of):
    return client_of(alice)


@pytest.fixture
def endpoint(organization):
    return endpoints.register(
        organization, url="https://example.com/hook", events=["job.failed"], header_name="X-Key", header_value="secret"
    )


def announce(organization, count=1):
    for _ in range(count):
        outbox.announce(organization.pk, event=EventType.JOB_FAILED, at=timezone.now(), data={"number": 7})


def text(response):
    return response.content.decode()


def test_page_without_endpoints_says_what_they_are_for(browser, organization):
    shown = text(browser.get("/webhooks/"))
    assert "No endpoints yet" in shown
    assert f'href="/o/{organization.pk}/webhooks/"' in shown


def test_endpoint_is_added(browser, organization):
    answer = browser.post("/webhooks/new/", {**FIELDS, "header_name": "X-Key", "header_value": "secret"})
    row = WebhookEndpoint.objects.get()
    assert answer.url == f"/o/{organization.pk}/webhooks/{row.pk}/"
    assert (row.organization, row.url, row.events) == (organization, FIELDS["url"], FIELDS["events"])
    assert encryption.decrypt(row.header_value) == "secret"
    shown = text(browser.get("/webhooks/"))
    assert "https://example.com/hook" in shown
    assert "Job completed, Balance low" in shown
    assert "secret" not in shown + text(browser.get(answer.url))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"url": "http://10.0.0.1/"}, "is not public"),
        ({"url": "https://example.com:8443/"}, "Only the ports 80 and 443"),
        ({"events": []}, "Choose one or more events."),
        ({"header_name": "Host", "header_value": "a"}, "cannot be set"),
        ({"header_name": "X-Key"}, "The header needs a value."),
    ],
)
def test_wrong_input_is_explained_in_its_place(browser, changed, sentence):
    answer = browser.post("/webhooks/new/", {**FIELDS, **changed})
    assert answer.status_code == 400
    assert sentence in text(answer)
    assert not WebhookEndpoint.objects.exists()


def test_one_endpoint_too_many_is_refused(browser, endpoint, organization):
    for _ in range(endpoints.MAX_ENDPOINTS - 1):
        endpoints.register(organization, url="https://example.com/", events=["job.failed"])
    answer = browser.post("/webhooks/new/", FIELDS)
    assert answer.status_code == 400
    assert "Delete one first." in text(answer)


def test_endpoint_is_changed_without_typing_the_secret_again(browser, endpoint):
    answer = browser.post(f"/webhooks/{endpoint.pk}/", {**FIELDS, "header_name": "X-Key"})
    assert answer.status_code == 302
    endpoint.refresh_from_db()
    assert endpoint.events == FIELDS["events"]
    assert encryption.decrypt(endpoint.header_value) == "secret"


def test_secret_is_not_taken_to_another_host(browser, endpoint):
    fields = {**FIELDS, "url": "https://thief.example/", "header_name": "X-Key"}
    answer = browser.post(f"/webhooks/{endpoint.pk}/", fields)
    assert answer.status_code == 400
    assert "Enter the value again for the new host." in text(answer)
    endpoint.refresh_from_db()
    assert endpoint.url == "https://example.com/hook"


def test_endpoint_is_turned_off_and_on(browser, endpoint):
    browser.post(f"/webhooks/{endpoint.pk}/off/")
    assert "This endpoint is off." in text(browser.get(f"/webhooks/{endpoint.pk}/"))
    browser.post(f"/webhooks/{endpoint.pk}/on/")
    endpoint.refresh_from_db()
    assert endpoint.is_on


def test_endpoint_that_its_receiver_turned_off_says_so(browser, endpoint):
    endpoints.turn_off(endpoint.pk, now=timezone.now(), fault=Fault.GONE)
    assert "answered 410 Gone" in text(browser.get(f"/webhooks/{endpoint.pk}/"))
    assert "answered 410" in text(browser.get("/webhooks/"))


def test_endpoint_is_deleted(browser, endpoint):
    browser.post(f"/webhooks/{endpoint.pk}/delete/")
    assert not WebhookEndpoint.objects.exists()


def test_test_is_sent_and_its_outcome_shown(browser, register, receiver):  # noqa: F811
    row = register(header_name="X-Key", header_value="secret")
    receiver.content = b"<b>thank you</b>"
    answer = browser.post(f"/webhooks/{row.pk}/test/")
    assert "Nothing sent yet." in text(browser.get(answer.url))
    deliver_due()
    shown = text(browser.get(answer.url))
    assert "webhook.test" in shown
    assert "&lt;b&gt;thank you&lt;/b&gt;" in shown
    assert "X-Key: (hidden)" in shown
    assert "secret" not in shown


def test_endpoint_that_is_off_is_sent_no_test(browser, endpoint):
    endpoints.turn_off(endpoint.pk, now=timezone.now())
    form = {FIELD: uuid.uuid4()}
    browser.post(f"/webhooks/{endpoint.pk}/test/", form)
    assert not Delivery.objects.exists()
    # The same form works once it may.
    endpoints.turn_on(endpoint)
    browser.post(f"/webhooks/{endpoint.pk}/test/", form)
    assert Delivery.objects.count() == 1


def test_delivery_is_sent_again(browser, register, receiver, organization):  # noqa: F811
    register("/status?code=500")
    announce(organization)
    Delivery.objects.update(step=9)
    deliver_due()
    row = Delivery.objects.get()
    shown = text(browser.get(f"/webhooks/deliveries/{row.pk}/"))
    assert "The receiver answered 500." in shown
    assert "Send again" in shown
    answer = browser.post(f"/webhooks/deliveries/{row.pk}/send/")
    assert answer.url == f"/o/{row.organization_id}/webhooks/deliveries/{row.pk}/"
    row.refresh_from_db()
    assert row.state == DeliveryState.PENDING


def test_nothing_is_sent_again_to_an_endpoint_that_is_off(browser, endpoint, organization):
    announce(organization)
    endpoints.turn_off(endpoint.pk, now=timezone.now())
    form = {FIELD: uuid.uuid4()}
    answer = browser.post(f"/webhooks/deliveries/{Delivery.objects.get().pk}/send/", form, follow=True)
    assert "Turn it on first." in text(answer)
    endpoints.turn_on(endpoint)
    answer = browser.post(f"/webhooks/deliveries/{Delivery.objects.get().pk}/send/", form, follow=True)
    assert "The webhook is sent again." in text(answer)


def test_tests_are_limited(browser, endpoint, settings):
    from accounts.gate import limits

    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "webhooks": "1/hour"}
    limits._limit.cache_clear()
    browser.post(f"/webhooks/{endpoint.pk}/test/")
    assert browser.post(f"/webhooks/{endpoint.pk}/test/").status_code == 429
    assert Delivery.objects.count() == 1
    limits._limit.cache_clear()


def test_log_has_pages_and_filters(browser, endpoint, organization):
    rows = pages.PAGE_ROWS
    announce(organization, 2 * rows + 1)
    Delivery.objects.filter(pk=Delivery.objects.newest_first()[0].pk).update(
        state=DeliveryState.FAILED, next_attempt_at=None
    )

    def shown(query=""):
        page = text(browser.get(f"/webhooks/deliveries/{query}"))
        return re.findall(r'href="/o/[\w-]+/webhooks/deliveries/(msg_\w+)/"', page)

    ids = [row.pk for row in Delivery.objects.newest_first()]
    assert shown() == ids[:rows]
    assert shown(f"?before={ids[rows - 1]}") == ids[rows : 2 * rows]
    assert shown(f"?before={ids[2 * rows - 1]}") == ids[2 * rows :]
    assert shown("?state=failed") == ids[:1]
    assert shown("?state=nonsense") == ids[:rows]
    assert shown(f"?endpoint={endpoint.pk}") == ids[:rows]
    assert browser.get("/webhooks/deliveries/?endpoint=nonsense").status_code == 404
    assert browser.get("/webhooks/deliveries/?before=msg_unknown").status_code == 404


def test_member_may_not_see_them(bob, client_of, endpoint, organization):
    announce(organization)
    member = client_of(bob)
    for path in ("", "new/", f"{endpoint.pk}/", "deliveries/", f"deliveries/{Delivery.objects.get().pk}/"):
        assert member.get(f"/webhooks/{path}").status_code == 403, path
    assert member.post(f"/webhooks/{endpoint.pk}/delete/").status_code == 403
    assert '/webhooks/"' not in text(member.get("/overview/"))


def test_stranger_sees_nothing_of_it(charlie, client_of, endpoint, organization):
    announce(organization)
    stranger = client_of(charlie)
    assert "example.com/hook" not in text(stranger.get("/webhooks/")) + text(stranger.get("/webhooks/deliveries/"))
    assert stranger.get(f"/webhooks/deliveries/?endpoint={endpoint.pk}").status_code == 404
    assert stranger.get(f"/webhooks/deliveries/?before={Delivery.objects.get().pk}").status_code == 404
