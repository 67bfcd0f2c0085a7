"""Forms that are sent twice create one thing."""

import threading
import time
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.http import HttpResponse, HttpResponseRedirect
from django.test import RequestFactory

from accounts import sent_forms
from accounts.errors import Forbidden
from accounts.models import ApiKey, IdempotencyRecord, Membership, Organization
from accounts.sent_forms import FIELD, RedirectOnce, RefusedRedirect, sent_once
from billing.models.payments import TopUp
from tests.conftest import AUDIO
from transcription.models import Job


class Acts:
    """A view that counts how often it acts."""

    def __init__(self, response=None) -> None:
        self.count = 0
        self.response = response

    def __call__(self, request):
        self.count += 1
        return self.response or HttpResponseRedirect(f"/made/{self.count}/")


@pytest.fixture
def send(alice, organization):
    membership = Membership.objects.get(user=alice, organization=organization)

    def post(view, fields, *, path="/form/", by=membership, **options):
        request = RequestFactory().post(path, fields)
        request.user = by.user
        request._voxsite_membership = by
        return sent_once(view, **options)(request)

    return post


def test_same_form_is_answered_as_before(send):
    acts, token = Acts(), uuid.uuid4()
    fields = {FIELD: token, "name": "laptop"}
    first, second = send(acts, fields), send(acts, fields | {"csrfmiddlewaretoken": "of another page"})
    assert acts.count == 1
    assert first.url == second.url == "/made/1/"


@pytest.mark.parametrize("change", [{"name": "phone"}, {FIELD: str(uuid.uuid4())}])
def test_other_fields_or_another_view_of_the_page_are_another_form(send, change):
    acts, fields = Acts(), {FIELD: str(uuid.uuid4()), "name": "laptop"}
    send(acts, fields)
    assert send(acts, fields | change).url == "/made/2/"


def test_token_of_one_address_says_nothing_at_another(send):
    acts, fields = Acts(), {FIELD: uuid.uuid4()}
    send(acts, fields)
    assert send(acts, fields, path="/other/").url == "/made/2/"


def test_token_of_one_person_says_nothing_to_another(send, alice, charlie):
    acts, fields = Acts(), {FIELD: uuid.uuid4()}
    send(acts, fields)
    stranger = Membership.objects.filter(user=charlie).first()
    assert send(acts, fields, by=stranger).url == "/made/2/"


@pytest.mark.parametrize("token", ["", "twice", "\0"])
def test_form_without_a_token_acts_every_time(send, token):
    acts = Acts()
    send(acts, {FIELD: token})
    send(acts, {FIELD: token})
    assert acts.count == 2


def test_refused_form_may_be_sent_again(send):
    fields = {FIELD: uuid.uuid4()}
    assert send(Acts(HttpResponse(status=400)), fields).status_code == 400

    def refuse(_):
        raise Forbidden("No.")

    with pytest.raises(Forbidden):
        send(refuse, fields)
    assert send(Acts(), fields).url == "/made/1/"
    assert IdempotencyRecord.objects.count() == 1


def test_form_that_was_refused_by_a_redirect_may_be_sent_again(send):
    fields = {FIELD: uuid.uuid4()}
    assert send(Acts(RefusedRedirect("/why/")), fields).url == "/why/"
    assert send(Acts(), fields).url == "/made/1/"
    assert send(Acts(), fields).url == "/made/1/"


def test_repeat_is_led_to_its_own_address(send):
    fields = {FIELD: uuid.uuid4()}
    acts = Acts(RedirectOnce("https://stripe.example/pay", again="/payment/"))
    assert send(acts, fields).url == "https://stripe.example/pay"
    assert send(acts, fields).url == "/payment/"


@pytest.mark.django_db(transaction=True)
def test_double_click_acts_once_and_both_get_the_answer(send):
    began, may_end, acts = threading.Event(), threading.Event(), []

    def slow(_):
        acts.append(1)
        began.set()
        assert may_end.wait(10)
        return HttpResponseRedirect("/made/")

    fields, urls = {FIELD: uuid.uuid4()}, []

    def click():
        try:
            urls.append(send(slow, fields).url)
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(2)]
    threads[0].start()
    assert began.wait(10)
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join(20)
    assert acts == [1]
    assert urls == ["/made/"] * 2


def test_repeat_does_not_wait_for_ever(send):
    fields = {FIELD: uuid.uuid4()}
    refusals = []

    def acts(request):
        with pytest.raises(sent_forms.Conflict) as caught:
            send(Acts(), fields, wait_seconds=0)
        refusals.append(caught.value)
        return HttpResponseRedirect("/made/")

    send(acts, fields)
    assert "sent twice" in refusals[0].message


@pytest.mark.django_db(transaction=True)
def test_two_repeats_wait_without_a_connection_and_more_are_refused_at_once(send):
    began, may_end = threading.Event(), threading.Event()
    fields, answers, lock = {FIELD: uuid.uuid4()}, [], threading.Lock()
    connections_of_repeats = {}

    def slow(_):
        began.set()
        assert may_end.wait(20)
        return HttpResponseRedirect("/made/")

    def click():
        if began.is_set():
            connections_of_repeats[threading.get_ident()] = connections["default"]
        try:
            answer = send(slow, fields).url
        except sent_forms.Conflict as error:
            answer = error.message
        finally:
            connection.close()
        with lock:
            connections_of_repeats.pop(threading.get_ident(), None)
            answers.append(answer)

    def wait_without_connection():
        """Tell whether three were refused, so that two have claimed the form in vain, and these hold no connection."""
        with lock:
            return len(answers) == 3 and [each.connection for each in connections_of_repeats.values()] == [None, None]

    threads = [threading.Thread(target=click) for _ in range(6)]
    threads[0].start()
    assert began.wait(10)
    for thread in threads[1:]:
        thread.start()
    give_up_at = time.monotonic() + 10
    while not (are_waiting := wait_without_connection()) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    early = list(answers)
    may_end.set()
    for thread in threads:
        thread.join(20)
    assert early == ["This form was sent twice, and the first one is still running."] * 3
    assert are_waiting
    assert answers[3:] == ["/made/"] * 3
    assert not sent_forms._waiting


# --- The forms of the site -------------------------------------------------------------------------------------------


def count(model) -> int:
    return model.objects.count()


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "fields", "model"),
    [
        ("/keys/", {"name": "laptop", "scopes": ["transcribe"]}, ApiKey),
        ("/organization/new/", {"name": "Acme"}, Organization),
        ("/billing/top-up/", {"amount": "1000"}, TopUp),
    ],
)
def test_reload_and_back_create_nothing_more(alice, organization, client_of, stripe_sandbox, path, fields, model):
    client = client_of(alice)
    page = client.get(path).content.decode()
    token = page.split(f'name="{FIELD}" value="')[1].split('"')[0]
    before = count(model)
    first = client.post(path, fields | {FIELD: token})
    again = client.post(path, fields | {FIELD: token})
    assert first.status_code == again.status_code == 302
    assert count(model) == before + 1


def test_upload_that_is_sent_twice_is_one_job(alice, organization, client_of):
    client, token = client_of(alice), uuid.uuid4()
    sound = (AUDIO / "sentence-slt.wav").read_bytes()

    def upload(content):
        file = SimpleUploadedFile("talk.wav", content, content_type="audio/wav")
        return client.post("/transcripts/upload/", {"files": file, "model": "standard", FIELD: token})

    first, again = upload(sound), upload(sound)
    assert first.url == again.url
    assert count(Job) == 1
    other = upload((AUDIO / "silence.wav").read_bytes())
    assert other.url != first.url
    assert count(Job) == 2
