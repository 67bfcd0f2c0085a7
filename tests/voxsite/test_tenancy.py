"""Walks every address of the site that names an object, and asks for Alice's as a stranger and as nobody."""

import uuid

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import api_keys, organizations
from accounts.models import Membership, Scope
from tests.conftest import Api
from transcription.models import ShareLink

# Prefixes of other people's code with its own tests, of development only, and of pages that show everybody the same.
FOREIGN = ("admin/", "accounts/", "dev/", "docs/")
# The pages of an organization. All of them are walked, also those that name no other object.
PAGES = "/o/<uuid:organization_id>/"
NO_OBJECTS = {"organization_id", "format_name"}
# What each address takes, of GET, POST, PATCH and DELETE; it answers 405 to the others.
METHODS = {
    f"{PAGES}overview/": {"get"},
    f"{PAGES}keys/": {"get", "post"},
    f"{PAGES}requests/": {"get"},
    f"{PAGES}activity/": {"get"},
    f"{PAGES}organization/": {"get"},
    f"{PAGES}organization/leave/": {"post"},
    f"{PAGES}organization/delete/": {"get", "post"},
    f"{PAGES}organization/rename/": {"post"},
    f"{PAGES}organization/invite/": {"post"},
    f"{PAGES}billing/": {"get"},
    f"{PAGES}billing/ledger/": {"get"},
    f"{PAGES}billing/ledger.csv": {"get"},
    f"{PAGES}billing/usage/": {"get"},
    f"{PAGES}billing/top-up/": {"get", "post"},
    f"{PAGES}billing/payments/": {"get"},
    f"{PAGES}billing/settings/": {"get"},
    f"{PAGES}billing/settings/automatic/": {"post"},
    f"{PAGES}billing/settings/automatic/off/": {"post"},
    f"{PAGES}billing/settings/card/remove/": {"post"},
    f"{PAGES}billing/settings/low-balance/": {"post"},
    f"{PAGES}billing/settings/limit/": {"post"},
    f"{PAGES}billing/settings/alerts/": {"post"},
    f"{PAGES}billing/keys/<uuid:key_id>/alerts/": {"post"},
    f"{PAGES}transcripts/": {"get"},
    f"{PAGES}transcripts/upload/": {"get", "post"},
    f"{PAGES}transcripts/batches/": {"post"},
    f"{PAGES}transcripts/sample/": {"post"},
    f"{PAGES}transcripts/live/": {"get"},
    f"{PAGES}transcripts/export/": {"post"},
    f"{PAGES}transcripts/selected/": {"post"},
    f"{PAGES}webhooks/": {"get"},
    f"{PAGES}webhooks/new/": {"get", "post"},
    f"{PAGES}webhooks/deliveries/": {"get"},
    f"{PAGES}playground/": {"get", "post"},
    f"{PAGES}playground/price/": {"post"},
    f"{PAGES}playground/rendered/": {"post"},
    f"{PAGES}playground/stream/": {"post"},
    f"{PAGES}keys/<uuid:key_id>/": {"get"},
    f"{PAGES}keys/<uuid:key_id>/revoke/": {"post"},
    f"{PAGES}keys/<uuid:key_id>/limit/": {"post"},
    f"{PAGES}keys/<uuid:key_id>/rotate/": {"post"},
    f"{PAGES}keys/<uuid:key_id>/scopes/": {"post"},
    f"{PAGES}organization/invitations/<uuid:invitation_id>/resend/": {"post"},
    f"{PAGES}organization/invitations/<uuid:invitation_id>/withdraw/": {"post"},
    f"{PAGES}organization/members/<int:membership_id>/role/": {"post"},
    f"{PAGES}organization/members/<int:membership_id>/remove/": {"post"},
    "/invitations/<str:token>/": {"get", "post"},
    f"{PAGES}billing/top-up/<uuid:topup_id>/success/": {"get"},
    f"{PAGES}billing/top-up/<uuid:topup_id>/cancelled/": {"get"},
    f"{PAGES}billing/top-up/<uuid:topup_id>/pay/": {"get"},
    f"{PAGES}billing/top-up/<uuid:topup_id>/cancel/": {"post"},
    f"{PAGES}billing/payments/<uuid:topup_id>/refund/": {"get", "post"},
    f"{PAGES}transcripts/<uuid:job_id>/": {"get"},
    f"{PAGES}transcripts/<uuid:job_id>/progress/": {"get"},
    f"{PAGES}transcripts/<uuid:job_id>/ask/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/sentences/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/speakers/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/again/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/share/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/share/<uuid:link_id>/revoke/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/rename/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/tags/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/cancel/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/delete/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/download/": {"get"},
    f"{PAGES}transcripts/<uuid:job_id>/download/<slug:format_name>/": {"get"},
    f"{PAGES}transcripts/<uuid:job_id>/audio/": {"get"},
    f"{PAGES}transcripts/<uuid:job_id>/files/<int:position>/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/complete/": {"post"},
    f"{PAGES}transcripts/<uuid:job_id>/archive/<slug:format_name>/": {"get"},
    f"{PAGES}webhooks/deliveries/<str:delivery_id>/": {"get"},
    f"{PAGES}webhooks/deliveries/<str:delivery_id>/send/": {"post"},
    f"{PAGES}webhooks/<uuid:endpoint_id>/": {"get", "post"},
    f"{PAGES}webhooks/<uuid:endpoint_id>/test/": {"post"},
    f"{PAGES}webhooks/<uuid:endpoint_id>/on/": {"post"},
    f"{PAGES}webhooks/<uuid:endpoint_id>/off/": {"post"},
    f"{PAGES}webhooks/<uuid:endpoint_id>/delete/": {"post"},
    "/s/<str:share_token>/": {"get"},
    "/s/<str:share_token>/audio/": {"get"},
    "/v1/keys/<str:key_id>": {"get", "patch", "delete"},
    "/v1/keys/<str:key_id>/rotate": {"post"},
    "/v1/tokens/<str:token_id>": {"get", "delete"},
    "/v1/jobs/<str:job_id>": {"get", "delete"},
    "/v1/jobs/<str:job_id>/cancel": {"post"},
    "/v1/jobs/<str:job_id>/events": {"get"},
    "/v1/jobs/<str:job_id>/items": {"get"},
    "/v1/jobs/<str:job_id>/result": {"get"},
    "/v1/jobs/<str:job_id>/result.<str:extension>": {"get"},
    "/v1/jobs/<str:job_id>/result.docx": {"get"},
    "/v1/status/<str:job_id>": {"get"},
    "/v1/projects/<str:project_id>": {"get"},
    "/v1/projects/<str:project_id>/balances": {"get"},
    "/transcribeapi/v1/transcribe/<str:job_id>": {"get"},
    "/transcribeapi/v1/transcribe/<str:job_id>/result": {"get"},
    "/transcribeapi/v1/transcribe/<str:job_id>/upload-completed": {"post"},
    "/transcribeapi/v1/jobs/<str:job_id>/upload-urls": {"post"},
    "/transcribeapi/v1/jobs/<str:job_id>/resume-upload": {"post"},
    "/transcribeapi/v1/results/<str:job_id>": {"get"},
}
# What these delete may be gone, by a double click. A stranger is led to the same page as whoever was late.
DELETES = {
    f"{PAGES}organization/invitations/<uuid:invitation_id>/withdraw/",
    f"{PAGES}organization/members/<int:membership_id>/remove/",
    f"{PAGES}transcripts/<uuid:job_id>/delete/",
    f"{PAGES}webhooks/<uuid:endpoint_id>/delete/",
}
# Addresses for programs, which have a key and no session.
APIS = ("/v1/", "/transcribeapi/")
# Opened by its signature alone, whoever asks. Without one it is closed to all.
SIGNED = "/transcribeapi/v1/results/<str:job_id>"
# An invitation is shown to all who have its link. Charlie, to whom it was not sent, may not accept it.
INVITATION = "/invitations/<str:token>/"
INVITATION_ANSWERS = {"get": (200, 200), "post": (403, 200), "patch": (405, 405), "delete": (405, 405)}


def patterns(resolver=None, prefix="", names=()):
    """Yield the path of each address that names an object, and the names of its objects."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path, its_names = prefix + str(pattern.pattern), (*names, *getattr(pattern.pattern, "converters", ()))
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, path, its_names)
        elif isinstance(pattern, URLPattern) and its_names and not path.startswith(FOREIGN):
            yield path, its_names


@pytest.fixture
def stranger(charlies):
    """A key that may do all that a key can do, in another organization."""
    return Api(api_keys.issue(charlies, name="walk", by=None, scopes=list(Scope))[1])


def addresses(objects):
    for path, names in patterns():
        values = {name: objects[name] for name in names if name in objects}
        unknown = set(names) - set(values)
        assert not unknown, f"Say in `objects` what {unknown} of {path} is."
        yield "/" + path.replace("^", ""), values


def fill(path, values):
    for name, value in values.items():
        for converter in ("uuid:", "str:", "int:", "slug:", ""):
            path = path.replace(f"<{converter}{name}>", str(value))
    return path


@pytest.mark.long
def test_every_object_is_hidden_from_strangers_and_from_nobody(objects, charlie, stranger, client_of):
    walked = set()
    browser = client_of(charlie)
    for path, values in addresses(objects):
        address = fill(path, values)
        walked.add(path)
        for method in ("get", "post", "patch", "delete"):
            is_taken = method in METHODS[path]
            as_nobody = getattr(Client(), method)(address)
            if address.startswith(APIS):
                as_stranger = getattr(stranger.client, method)(address, headers={"X-API-Key": stranger.key})
                expected = (404 if is_taken else 405, 401)
                if path == SIGNED:
                    expected = (403, 403) if is_taken else (405, 405)
            else:
                as_stranger = getattr(browser, method)(address)
                expected = INVITATION_ANSWERS[method] if path == INVITATION else (404, 302)
                if path.startswith("/s/"):
                    expected = (404, 404) if is_taken else (405, 405)
            assert (as_stranger.status_code, as_nobody.status_code) == expected, (method, address)
            if as_nobody.status_code == 302:
                assert as_nobody.headers["Location"].startswith("/accounts/login/")
    assert walked == set(METHODS)
    assert not Membership.objects.filter(user=charlie, organization__jobs__isnull=False).exists()


@pytest.mark.long
def test_strangers_own_organization_leads_to_no_object_of_another(objects, charlie, charlies, client_of):
    browser = client_of(charlie)
    for path, values in addresses({**objects, "organization_id": charlies.pk}):
        if path.startswith(PAGES) and set(values) - NO_OBJECTS:
            for method in ("get", "post", "patch", "delete"):
                answer = getattr(browser, method)(fill(path, values))
                hidden = 302 if path in DELETES else 404
                assert answer.status_code == (hidden if method in METHODS[path] else 405), (method, path)


@pytest.mark.long
def test_stranger_does_not_learn_which_organizations_there_are(objects, organization, charlie, client_of):
    nowhere = uuid.uuid4()
    askers = client_of(charlie), Client()
    for path, values in addresses(objects):
        if path.startswith(PAGES):
            for asker in askers:
                real, made_up = (
                    asker.get(fill(path, {**values, "organization_id": one})) for one in (organization.pk, nowhere)
                )
                assert real.status_code == made_up.status_code
                assert real.content.decode().replace(str(organization.pk), str(nowhere)) == made_up.content.decode()
                assert organization.name not in real.content.decode()


@pytest.mark.long
def test_nothing_was_changed_by_the_walk(objects, organization, charlie, charlies, client_of):
    browser = client_of(charlie)
    for path, values in addresses(objects):
        browser.post(fill(path, values))
        if path.startswith(PAGES) and set(values) - NO_OBJECTS:
            browser.post(fill(path, {**values, "organization_id": charlies.pk}))
    assert_unchanged(organization)


def assert_unchanged(organization):
    assert organization.jobs.count() == 1
    key = organization.api_keys.get(parent=None)
    assert (key.revoked_at, key.monthly_limit_micros, key.tokens.get().revoked_at) == (None, None, None)
    assert not organization.topups.get().refunds.exists()
    assert organization.memberships.count() == 2
    assert organization.invitations.get().accepted_at is None
    assert organization.webhook_endpoints.get().is_on
    assert ShareLink.objects.count() == 1
    assert organization.webhook_deliveries.get().attempt == 0


@pytest.mark.long
def test_unknown_ids_look_like_a_strangers(objects, charlie, charlies, client_of):
    browser = client_of(charlie)
    for path, values in addresses({**objects, "organization_id": charlies.pk}):
        others = {name: uuid.uuid4() if isinstance(value, uuid.UUID) else value for name, value in values.items()}
        others |= {"organization_id": charlies.pk} if path.startswith(PAGES) else {}
        if others != values and not path.startswith(APIS):
            expected = 404 if "get" in METHODS[path] else 405
            assert browser.get(fill(path, others)).status_code == expected, path


# --- Addresses without organization ----------------------------------------------------------------------------------


@pytest.mark.long
def test_address_without_organization_leads_to_the_persons_own(objects, alice, organization):
    acme = organizations.create(name="Acme", owner=alice)
    client = signed_in(alice)
    for opened in (organization, acme):
        client.get(f"/o/{opened.pk}/overview/")
        for path, values in addresses(objects):
            if path.startswith(PAGES):
                own = fill(path, values).removeprefix(f"/o/{organization.pk}")
                for method in ("get", "head"):
                    answer = getattr(client, method)(f"{own}?page=2")
                    assert (answer.status_code, answer.headers["Location"]) == (302, f"/o/{opened.pk}{own}?page=2")


@pytest.mark.long
def test_form_that_names_no_organization_does_nothing(objects, alice, organization):
    client = signed_in(alice)
    for path, values in addresses(objects):
        if path.startswith(PAGES):
            own = fill(path, values).removeprefix(f"/o/{organization.pk}")
            for method in ("post", "put", "patch", "delete"):
                answer = getattr(client, method)(own, {"name": "x", "email": "x@example.com", "amount": "20000"})
                assert answer.status_code == 405
            assert Client().post(own).headers["Location"].startswith("/accounts/login/")
    assert_unchanged(organization)


def test_only_what_a_person_opens_decides_which_organization_is_theirs(alice, organization):
    acme = organizations.create(name="Acme", owner=alice)
    client = signed_in(alice)
    client.get(f"/o/{acme.pk}/overview/")
    # The page in another window asks for its progress, plays a recording and sends a form.
    client.get(f"/o/{organization.pk}/transcripts/live/", headers={"Sec-Fetch-Dest": "empty"})
    client.get(f"/o/{organization.pk}/transcripts/", headers={"Sec-Fetch-Dest": "audio"})
    client.post(f"/o/{organization.pk}/keys/", {})
    assert client.get("/keys/").headers["Location"] == f"/o/{acme.pk}/keys/"
    Membership.objects.filter(organization=acme).delete()
    assert client.get("/keys/").headers["Location"] == f"/o/{organization.pk}/keys/"


def signed_in(user):
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client
