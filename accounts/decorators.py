"""Decorators for the views of pages: they require a sign-in, and show errors as pages of this site."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.cache import patch_cache_control

from accounts import access
from accounts.errors import NotFound, RateLimited, VoxsiteError

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """Decorate the view of a page for members: visitors must sign in first, and our errors are shown as pages.

    The address of an organization's page names it. Others than its members get 404. The view is called without
    `organization_id`, and asks `access` for the membership.
    """
    return login_required(open_page(view))


def open_page(view: View) -> View:
    """Decorate the view of a page that visitors may see too. As `page`, but without the sign-in."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        is_of_organization = kwargs.pop("organization_id", None) is not None
        try:
            if is_of_organization:
                access.enter(request)
            response = view(request, *args, **kwargs)
        except Http404:
            response = show_missing(request)
        except NotFound as error:
            response = show_missing(request, reason=error.message)
        except VoxsiteError as error:
            response = show_error(request, error)
        if isinstance(response, HttpResponseNotAllowed) and _is_opened_by_a_person(request):
            response = HttpResponseRedirect(page_above(request.path))
        if not response.has_header("Cache-Control"):
            patch_cache_control(response, private=True, no_cache=True)
        return response

    return answer


def _is_opened_by_a_person(request: HttpRequest) -> bool:
    """Tell whether a browser asks for this address as a page, and not as an image, by a script or ahead of time."""
    return request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"


def page_above(path: str) -> str:
    """Return the address of the nearest page above this one: /keys/ for /keys/<id>/revoke/.

    A browser asks for the address of a form after a sign-in that the form had needed, or when a person opens a page
    that answered a refused form once more.
    """
    parts = path.strip("/").split("/")
    while len(parts) > 1:
        parts.pop()
        above = f"/{'/'.join(parts)}/"
        try:
            resolve(above)
        except Resolver404:
            continue
        return above
    return "/"


def show_missing(request: HttpRequest, *, reason: str = "") -> HttpResponse:
    """Return the page for 404. Not by raising Http404, for which DEBUG shows a page of Django's."""
    return render(request, "404.html", {"reason": reason}, status=404)


def show_error(request: HttpRequest, error: VoxsiteError) -> HttpResponse:
    """Return the page that explains an error."""
    response = render(request, "errors/refused.html", {"error": error}, status=error.http_status)
    if isinstance(error, RateLimited):
        response["Retry-After"] = error.headers["Retry-After"]
    return response
