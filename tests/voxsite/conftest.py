"""Objects of every kind, for tests that walk all addresses of the site."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import api_keys, organizations, tokens
from accounts.models import Membership, Organization, Role, User
from billing.models.payments import TopUpState
from tests.billing.stripe_objects import make_topup
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.webhooks import endpoints, outbox


@pytest.fixture
def objects(organization: Organization, alice: User, bob: User) -> dict[str, Any]:
    """One of every kind of object of Alice's organization, by the names that the URLs use."""
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    key, _ = api_keys.issue(organization, name="walk", by=alice)
    browser_token, _ = tokens.issue(
        key, name="walk", scopes=["chat"], lifetime=timedelta(minutes=5), spend_limit_micros=1
    )
    owner = Membership.objects.get(organization=organization, user=alice)
    _, token = organizations.invite(organization, email="dora@example.com", role=Role.MEMBER, by=owner)
    endpoint = endpoints.register(organization, url="https://example.com/", events=["job.failed"])
    return {
        "organization_id": organization.pk,
        "job_id": job.pk,
        "project_id": job.organization_id,
        "endpoint_id": endpoint.pk,
        "delivery_id": outbox.test(endpoint).pk,
        "format_name": "txt",
        "extension": "txt",
        "position": 0,
        "key_id": key.pk,
        "token_id": browser_token.pk,
        "topup_id": make_topup(organization, state=TopUpState.PAID, paid_at=timezone.now()).pk,
        "membership_id": Membership.objects.get(user=bob).pk,
        "invitation_id": organization.invitations.get().pk,
        "link_id": jobs.share(job.items.get(), days=1, has_audio=True, by=alice, now=timezone.now())[0].pk,
        "token": token,
        # Whoever has the token of a link is no stranger to it: tests/transcription/pages/test_sharing.py.
        "share_token": "guessed",
    }
