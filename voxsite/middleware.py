"""Middleware for every request and response."""

from collections.abc import Callable
from hashlib import sha256

from allauth.account.adapter import get_adapter
from allauth.usersessions.models import UserSession
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.gzip import GZipMiddleware

from accounts import database_connection

NOTED_SECONDS = 60
COMPRESSED_STATIC = frozenset({"text/css", "text/javascript", "application/javascript", "image/svg+xml"})
COMPRESSED_PATHS = frozenset({"/openapi.json", "/robots.txt", "/sitemap.xml"})


class StreamsHoldNoResources:
    """Releases the database connection and the thread of a request before its response begins to stream.

    Django keeps both until the response is closed. Then 16 clients that read slowly, or never, could occupy the whole
    pool of connections and stop the site, and each open stream of events cost a thread (measured). This middleware is
    the outermost one, because others may use the database after the view.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.streaming:
            database_connection.release()
            if getattr(response, "is_async", False):
                _end_thread_of_request()
        return response


class NotesSessions:
    """Notes once a minute when a session was used last, and at once when its address or browser changes.

    allauth's own middleware does so for each request, with five statements.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.session.session_key and request.user.is_authenticated:
            address, browser = get_adapter().get_client_ip(request), request.META.get("HTTP_USER_AGENT")
            client = repr((request.session.session_key, address, browser))
            name = f"accounts:session:{sha256(client.encode()).hexdigest()}"
            if cache.add(name, "noted", timeout=NOTED_SECONDS):
                UserSession.objects.create_from_request(request)
        return self.get_response(request)


class _CompressStatic(GZipMiddleware):
    """Compresses what has no secrets. Django's random length could make a small file longer than it is plain."""

    max_random_bytes = 0


class CompressPages(GZipMiddleware):
    """Compresses pages, the API's description and, in development, style sheets and scripts.

    The attack (BREACH): have a browser fetch a page again and again with guesses in its address, and learn from the
    compressed sizes what else is in it. So pages with secrets (no-store) are not compressed, nor those that a member
    asks for with a query. The token of forms is masked anew in each page, and Django adds a random length to each
    answer. Streams, files and answers of the APIs stay as they are: programs read them while they come.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if _is_static_text(request, response):
            text = b"".join(response)
            return _CompressStatic(self.get_response).process_response(request, _with_content(response, text))
        if not _is_compressed_page(request, response):
            return response
        return super().process_response(request, response)


def _is_static_text(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Tell whether this is a whole text file of the site, which WhiteNoise has not compressed."""
    kind = response.get("Content-Type", "").partition(";")[0]
    is_static = (request.method, response.status_code) == ("GET", 200) and request.path.startswith(settings.STATIC_URL)
    return is_static and kind in COMPRESSED_STATIC and not response.has_header("Content-Encoding")


def _with_content(response: HttpResponseBase, content: bytes) -> HttpResponse:
    """Return an answer with the headers of a streaming one, whose file is read and closed."""
    response.close()
    # WhiteNoise compares tags exactly, and a compressed answer has a weak one: the time of the file has to do.
    headers = {name: value for name, value in response.items() if name not in ("Content-Length", "ETag")}
    return HttpResponse(content, headers=headers)


def _is_compressed_page(request: HttpRequest, response: HttpResponseBase) -> bool:
    kind = response.get("Content-Type", "").partition(";")[0]
    if response.streaming or (kind != "text/html" and request.path not in COMPRESSED_PATHS):
        return False
    is_members = settings.SESSION_COOKIE_NAME in request.COOKIES
    return not (is_members and request.GET) and "no-store" not in response.get("Cache-Control", "")


def _end_thread_of_request() -> None:
    """Let this thread end after its present call. The event loop sends an asynchronous stream without it.

    asgiref starts another thread if the request needs one later, for example to close the response.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context is not None else None
    if executor is not None:
        executor.shutdown(wait=False)
