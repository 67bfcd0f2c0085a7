"""What every page shares: the sign-in gate, and errors turned into pages in our look."""

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
    """A page for members: asks visitors to sign in, and answers our errors with a page."""
    return login_required(open_page(view))


def open_page(view: View) -> View:
    """A page that visitors may see too: answers our errors with a page, and is kept by no shared cache."""

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
    """Return the page that says that there is nothing: here and not by raising, so that it has our look everywhere."""
    return render(request, "404.html", {"reason": reason}, status=404)


def show_error(request: HttpRequest, error: VoxsiteError) -> HttpResponse:
    """Return the page that says what happened."""
    response = render(request, "errors/refused.html", {"error": error}, status=error.http_status)
    if isinstance(error, RateLimited):
        response["Retry-After"] = error.headers["Retry-After"]
    return response
