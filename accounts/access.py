"""Access control for pages: which organization a signed-in person works in, and what they may do there."""

import uuid

from allauth.account.models import EmailAddress
from django.http import Http404, HttpRequest

from accounts import organizations
from accounts.errors import Forbidden
from accounts.models import Membership, Organization, Role, User

SESSION_KEY = "organization_id"


def person_id(request: HttpRequest) -> int:
    """Return the id of the signed-in person. Raises Http404 if nobody is signed in."""
    if request.user.pk is None:
        raise Http404
    return request.user.pk


def person(request: HttpRequest) -> User:
    """Return the signed-in person. Raises Http404 if nobody is signed in."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user


def membership_for(request: HttpRequest) -> Membership:
    """Return the person's membership in their current organization: the chosen one, or else their oldest.

    A person without an organization (an owner removed them from their last one) gets a new personal one.
    Raises Http404 for a person without a verified address, such as an operator.
    """
    cached: Membership | None = getattr(request, "_voxsite_membership", None)
    if cached is not None:
        return cached
    memberships = (
        Membership.objects.select_related("organization")
        .filter(user_id=person_id(request))
        .order_by("created_at", "pk")
    )
    chosen = request.session.get(SESSION_KEY)
    membership = (memberships.filter(organization_id=chosen).first() if chosen else None) or memberships.first()
    if membership is None:
        if not EmailAddress.objects.filter(user_id=person_id(request), verified=True).exists():
            raise Http404
        organizations.email_was_verified(User.objects.get(pk=person_id(request)))
        membership = memberships.get()
    request._voxsite_membership = membership  # type: ignore[attr-defined]  # kept with the request
    return membership


def organization_for(request: HttpRequest) -> Organization:
    """Return the person's current organization. Pages reach every row through it."""
    return membership_for(request).organization


def require_role(request: HttpRequest, role: Role) -> Membership:
    """Return the membership. Raises Forbidden unless it has at least the rights of the role."""
    membership = membership_for(request)
    if not membership.may(role):
        raise Forbidden(f"Only an {role.label.lower()} of {membership.organization.name} can do this.")
    return membership


def switch(request: HttpRequest, *, organization_id: uuid.UUID) -> Membership:
    """Make another organization the current one. Raises Http404 if the person is not a member of it."""
    membership = (
        Membership.objects.select_related("organization")
        .filter(user_id=person_id(request), organization_id=organization_id)
        .first()
    )
    if membership is None:
        raise Http404
    request.session[SESSION_KEY] = str(organization_id)
    request._voxsite_membership = membership  # type: ignore[attr-defined]  # kept with the request
    return membership
