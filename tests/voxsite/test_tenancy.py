"""Walks every address of the site that names an object, and asks for Alice's as a stranger and as nobody."""

import uuid

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from accounts import api_keys, organizations
from accounts.models import Membership, Role
from billing.models.payments import TopUpState
from tests.billing.stripe_objects import make_topup
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.webhooks import endpoints, outbox

# Prefixes of other people's code with its own tests, of development only, and of pages that show everybody the same.
FOREIGN = ("admin/", "accounts/", "dev/", "docs/")
# What each address takes, of GET, POST and DELETE; it answers 405 to the others.
METHODS = {
    "/keys/<uuid:key_id>/revoke/": {"post"},
    "/keys/<uuid:key_id>/limit/": {"post"},
    "/organization/invitations/<uuid:invitation_id>/withdraw/": {"post"},
    "/organization/members/<int:membership_id>/role/": {"post"},
    "/organization/members/<int:membership_id>/remove/": {"post"},
    "/invitations/<str:token>/": {"get", "post"},
    "/billing/top-up/<uuid:topup_id>/success/": {"get"},
    "/billing/top-up/<uuid:topup_id>/cancelled/": {"get"},
    "/billing/top-up/<uuid:topup_id>/pay/": {"get"},
    "/billing/top-up/<uuid:topup_id>/cancel/": {"post"},
    "/billing/payments/<uuid:topup_id>/refund/": {"get", "post"},
    "/transcripts/<uuid:job_id>/": {"get"},
    "/transcripts/<uuid:job_id>/progress/": {"get"},
    "/transcripts/<uuid:job_id>/ask/": {"post"},
    "/transcripts/<uuid:job_id>/cancel/": {"post"},
    "/transcripts/<uuid:job_id>/delete/": {"post"},
    "/transcripts/<uuid:job_id>/download/<slug:format_name>/": {"get"},
    "/transcripts/<uuid:job_id>/audio/": {"get"},
    "/webhooks/deliveries/<str:delivery_id>/": {"get"},
    "/webhooks/deliveries/<str:delivery_id>/send/": {"post"},
    "/webhooks/<uuid:endpoint_id>/": {"get", "post"},
    "/webhooks/<uuid:endpoint_id>/test/": {"post"},
    "/webhooks/<uuid:endpoint_id>/on/": {"post"},
    "/webhooks/<uuid:endpoint_id>/off/": {"post"},
    "/webhooks/<uuid:endpoint_id>/delete/": {"post"},
    "/v1/jobs/<str:job_id>": {"get", "delete"},
    "/v1/jobs/<str:job_id>/cancel": {"post"},
    "/v1/jobs/<str:job_id>/events": {"get"},
    "/v1/jobs/<str:job_id>/result": {"get"},
    "/v1/status/<str:job_id>": {"get"},
}
# An invitation is shown to all who have its link. Charlie, to whom it was not sent, may not accept it.
INVITATION = "/invitations/<str:token>/"
INVITATION_ANSWERS = {"get": (200, 200), "post": (403, 200), "delete": (405, 405)}


def patterns(resolver=None, prefix=""):
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, path)
        elif isinstance(pattern, URLPattern) and pattern.pattern.converters and not path.startswith(FOREIGN):
            yield path, pattern


@pytest.fixture
def objects(organization, alice, bob):
    """One of every kind of object of Alice's organization, by the names that the URLs use."""
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    key, _ = api_keys.issue(organization, name="walk", by=alice)
    owner = Membership.objects.get(organization=organization, user=alice)
    _, token = organizations.invite(organization, email="dora@example.com", role=Role.MEMBER, by=owner)
    endpoint = endpoints.register(organization, url="https://example.com/", events=["job.failed"])
    return {
        "job_id": job.pk,
        "endpoint_id": endpoint.pk,
        "delivery_id": outbox.test(endpoint).pk,
        "format_name": "txt",
        "key_id": key.pk,
        "topup_id": make_topup(organization, state=TopUpState.PAID, paid_at=timezone.now()).pk,
        "membership_id": Membership.objects.get(user=bob).pk,
        "invitation_id": organization.invitations.get().pk,
        "token": token,
    }


def addresses(objects):
    for path, pattern in patterns():
        values = {name: objects[name] for name in pattern.pattern.converters if name in objects}
        unknown = set(pattern.pattern.converters) - set(values)
        assert not unknown, f"Say in `objects` what {unknown} of {path} is."
        yield "/" + path.replace("^", ""), pattern, values


def fill(path, values):
    for name, value in values.items():
        for converter in ("uuid:", "str:", "int:", "slug:", ""):
            path = path.replace(f"<{converter}{name}>", str(value))
    return path


def test_every_object_is_hidden_from_strangers_and_from_nobody(objects, charlie, stranger, client_of):
    walked = set()
    for path, _, values in addresses(objects):
        address = fill(path, values)
        walked.add(path)
        for method in ("get", "post", "delete"):
            is_taken = method in METHODS[path]
            as_nobody = getattr(Client(), method)(address)
            if address.startswith("/v1/"):
                as_stranger = getattr(stranger.client, method)(address, headers={"X-API-Key": stranger.key})
                expected = (404 if is_taken else 405, 401)
            else:
                as_stranger = getattr(client_of(charlie), method)(address)
                expected = INVITATION_ANSWERS[method] if path == INVITATION else (404 if is_taken else 405, 302)
            assert (as_stranger.status_code, as_nobody.status_code) == expected, (method, address)
            if as_nobody.status_code == 302:
                assert as_nobody.headers["Location"].startswith("/accounts/login/")
    assert walked == set(METHODS)
    assert not Membership.objects.filter(user=charlie, organization__jobs__isnull=False).exists()


def test_nothing_was_changed_by_the_walk(objects, organization, charlie, client_of):
    for path, _, values in addresses(objects):
        client_of(charlie).post(fill(path, values))
    assert organization.jobs.count() == 1
    assert organization.api_keys.get().revoked_at is None
    assert organization.api_keys.get().monthly_limit_micros is None
    assert not organization.topups.get().refunds.exists()
    assert organization.memberships.count() == 2
    assert organization.invitations.get().accepted_at is None
    assert organization.webhook_endpoints.get().is_on
    assert organization.webhook_deliveries.get().attempt == 0


def test_unknown_ids_look_like_a_strangers(objects, charlie, client_of):
    for path, _, values in addresses(objects):
        others = {name: uuid.uuid4() if isinstance(value, uuid.UUID) else value for name, value in values.items()}
        if others != values and not path.startswith("/v1/"):
            expected = 404 if "get" in METHODS[path] else 405
            assert client_of(charlie).get(fill(path, others)).status_code == expected, path
