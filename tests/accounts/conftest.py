"""Operators, and rows of accounts that they look at in the admin pages."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts import api_keys, organizations
from accounts.models import Membership, Role, User


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


def address(model, *args, page="changelist"):
    return reverse(f"admin:accounts_{model._meta.model_name}_{page}", args=args)


def act(client, action, *rows):
    return client.post(
        address(type(rows[0])), {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True
    )


def messages_of(response):
    return [str(message) for message in response.context["messages"]]
