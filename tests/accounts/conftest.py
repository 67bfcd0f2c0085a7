"""Operators, rows of accounts that they look at in the admin pages, and providers of sign-in."""

import pytest
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from allauth.socialaccount.providers.google.views import GoogleOAuth2Adapter
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts import api_keys, organizations
from accounts.models import Membership, Role, User
from tests import identity_provider
from tests.identity_provider import Account
from voxsite import sign_in_providers


@pytest.fixture
def operator(db, client_of):
    return client_of(User.objects.create_superuser("operator@example.com", "correct horse battery"))


@pytest.fixture
def reader(db, client_of):
    """An operator who may see everything and change nothing."""
    user = User.objects.create_user("reader@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return client_of(user)


@pytest.fixture
def membership(organization, alice):
    return Membership.objects.get(organization=organization, user=alice)


@pytest.fixture
def invitation(organization, membership):
    return organizations.invite(organization, email="dora@example.com", role=Role.MEMBER, by=membership)[0]


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[0]


@pytest.fixture(scope="package")
def running_provider():
    with identity_provider.running() as provider:
        yield provider


@pytest.fixture
def provider(running_provider, settings, monkeypatch, db):
    """Google and GitHub, where nobody has been yet, and the site with both switched on."""
    for name in ("GOOGLE", "GITHUB"):
        monkeypatch.setenv(f"VOXSITE_{name}_CLIENT_ID", identity_provider.CLIENT_ID)
        monkeypatch.setenv(f"VOXSITE_{name}_CLIENT_SECRET", identity_provider.CLIENT_SECRET)
    settings.SOCIALACCOUNT_PROVIDERS = sign_in_providers.configured()
    at = running_provider.address
    for adapter, fields in (
        (GoogleOAuth2Adapter, {"authorize_url": "/o/oauth2/v2/auth", "access_token_url": "/token"}),
        (
            GitHubOAuth2Adapter,
            {"authorize_url": "/login/oauth/authorize", "access_token_url": "/login/oauth/access_token"},
        ),
        (GitHubOAuth2Adapter, {"profile_url": "/api/v3/user", "emails_url": "/api/v3/user/emails"}),
    ):
        for field, path in fields.items():
            monkeypatch.setattr(adapter, field, f"{at}{path}")
    running_provider.account = Account()
    running_provider.is_broken = False
    running_provider.asked.clear()
    return running_provider


def address(model, *args, page="changelist"):
    return reverse(f"admin:accounts_{model._meta.model_name}_{page}", args=args)


def act(client, action, *rows):
    return client.post(
        address(type(rows[0])), {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True
    )


def messages_of(response):
    return [str(message) for message in response.context["messages"]]
