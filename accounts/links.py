"""Addresses of pages. Those of an organization's pages begin with it: `/o/ORGANIZATION_ID/keys/`.

So each window keeps its organization, whatever the person opens in another one. Without the beginning an address leads
to the organization that the person opened last: `voxsite.pages.own_page` redirects there.
"""

import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts import access

# The route in `voxsite.urls` below which all pages of organizations are.
ROOT = "o/<uuid:organization_id>/"
_NOBODY = uuid.UUID(int=0)


def page_url(organization_id: uuid.UUID | None, name: str, *args: Any) -> str:
    """Return the path of an organization's page; for None, that of the same page of the person's own organization.

    name, args: of the URL, without the organization. Raises NoReverseMatch if no page of an organization has this name.
    """
    if organization_id is not None:
        return reverse(name, args=[organization_id, *args])
    return within_organization(reverse(name, args=[_NOBODY, *args]))


def within_organization(path: str) -> str:
    """Return the path without its organization: `/keys/` for `/o/ORGANIZATION_ID/keys/`; other paths as they are."""
    first, _, rest = path.removeprefix("/o/").partition("/")
    return f"/{rest}" if path.startswith("/o/") and first else path


def redirect_to_page(request: HttpRequest, name: str, *args: Any) -> HttpResponseRedirect:
    """Redirect to another page of the organization of this page."""
    return HttpResponseRedirect(page_url(access.organization_for(request).pk, name, *args))


def organization_id_of(request: HttpRequest | None) -> uuid.UUID | None:
    """Return the organization that a page shows; None for visitors and for people without one."""
    if request is None or not getattr(request, "user", None) or not request.user.is_authenticated:
        return None
    try:
        return access.organization_for(request).pk
    except Http404:
        return None


@cache
def names() -> frozenset[str]:
    """Return the names of all pages of organizations, with their namespace: `keys`, `billing:ledger`."""
    roots = [found for found in get_resolver().url_patterns if str(found.pattern) == ROOT]
    return frozenset(name for root in roots if isinstance(root, URLResolver) for name in _names_below(root))


def _names_below(resolver: URLResolver, namespace: str = "") -> Iterator[str]:
    for found in resolver.url_patterns:
        if isinstance(found, URLResolver):
            yield from _names_below(found, f"{namespace}{found.namespace}:" if found.namespace else namespace)
        elif isinstance(found, URLPattern) and found.name:
            yield f"{namespace}{found.name}"
