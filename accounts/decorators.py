"""Decorators for the views of pages: they require a sign-in, and show errors as pages of this site."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_cache_control

from accounts.errors import NotFound, RateLimited, VoxsiteError

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """Decorate the view of a page for members: visitors must sign in first, and our errors are shown as pages."""
    return login_required(open_page(view))


def open_page(view: View) -> View:
    """Decorate the view of a page that visitors may see too. As `page`, but without the sign-in."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            response = show_missing(request)
        except NotFound as error:
            response = show_missing(request, reason=error.message)
        except VoxsiteError as error:
            response = show_error(request, error)
        if not response.has_header("Cache-Control"):
            patch_cache_control(response, private=True, no_cache=True)
        return response

    return answer


def show_missing(request: HttpRequest, *, reason: str = "") -> HttpResponse:
    """Return the page for 404. Not by raising Http404, for which DEBUG shows a page of Django's."""
    return render(request, "404.html", {"reason": reason}, status=404)


def show_error(request: HttpRequest, error: VoxsiteError) -> HttpResponse:
    """Return the page that explains an error."""
    response = render(request, "errors/refused.html", {"error": error}, status=error.http_status)
    if isinstance(error, RateLimited):
        response["Retry-After"] = error.headers["Retry-After"]
    return response
