"""Access control for pages: which organization a page is of, and what the signed-in person may do there."""

import uuid

from allauth.account.models import EmailAddress
from django.http import Http404, HttpRequest

from accounts import log_context, organizations
from accounts.errors import Forbidden
from accounts.models import Membership, Organization, Role, User

# The organization that the person opened last.
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
    """Return the person's membership in the organization that the address names.

    For an address without organization: in the one whose pages the person opened last, or else in their oldest.
    A person without an organization (an owner removed them from their last one) gets a new personal one.
    Raises Http404 for a person who is no member of the address's organization, whether or not it exists, for a closed
    organization, and for a person without a verified address, such as an operator.
    """
    cached: Membership | None = getattr(request, "_voxsite_membership", None)
    if cached is not None:
        return cached
    memberships = _memberships(request)
    addressed = _addressed(request)
    if addressed is not None:
        membership = next((one for one in memberships if one.organization_id == addressed), None)
        if membership is None:
            raise Http404
    else:
        membership = _own(request, memberships)
    request._voxsite_membership = membership  # type: ignore[attr-defined]  # kept with the request
    request._voxsite_others = [one.organization for one in memberships if one.pk != membership.pk]  # type: ignore[attr-defined]
    log_context.add(organization_id=membership.organization_id, user_id=membership.user_id)
    return membership


def other_organizations(request: HttpRequest) -> list[Organization]:
    """Return the person's organizations beside that of the page, by name. They were read with the membership."""
    membership_for(request)
    others: list[Organization] = request._voxsite_others  # type: ignore[attr-defined]  # kept with the request
    return sorted(others, key=lambda organization: organization.name)


def _memberships(request: HttpRequest) -> list[Membership]:
    """Return the person's memberships in open organizations, the oldest first."""
    found = Membership.objects.select_related("organization").of_open_organizations()
    return list(found.filter(user_id=person_id(request)).order_by("created_at", "pk"))


def _addressed(request: HttpRequest) -> uuid.UUID | None:
    match = request.resolver_match
    found: uuid.UUID | None = match.kwargs.get("organization_id") if match else None
    return found


def _own(request: HttpRequest, memberships: list[Membership]) -> Membership:
    last = request.session.get(SESSION_KEY)
    if not memberships:
        if not EmailAddress.objects.filter(user_id=person_id(request), verified=True).exists():
            raise Http404
        organizations.email_was_verified(User.objects.get(pk=person_id(request)))
        memberships = _memberships(request)
    return next((one for one in memberships if str(one.organization_id) == last), memberships[0])


def organization_for(request: HttpRequest) -> Organization:
    """Return the organization of the page. Pages reach every row through it."""
    return membership_for(request).organization


def require_role(request: HttpRequest, role: Role) -> Membership:
    """Return the membership. Raises Forbidden unless it has at least the rights of the role."""
    membership = membership_for(request)
    if not membership.may(role):
        raise Forbidden(f"Only an {role.label.lower()} of {membership.organization.name} can do this.")
    return membership


def enter(request: HttpRequest) -> None:
    """Admit the person to a page of an organization, and remember the organization if they opened the page themselves.

    Raises Http404 as `membership_for`. What a page fetches (parts of it, recordings) is not remembered: another window
    does that all the time.
    """
    organization_id = str(membership_for(request).organization_id)
    # Browsers tell it on https and localhost. Without it, all requests count.
    is_opened = request.method == "GET" and request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if is_opened and request.session.get(SESSION_KEY) != organization_id:
        request.session[SESSION_KEY] = organization_id
