"""Middleware for every response."""

from collections.abc import Callable

from asgiref.sync import SyncToAsync
from django.http import HttpRequest, HttpResponseBase

from accounts import database_connection


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


def _end_thread_of_request() -> None:
    """Let this thread end after its present call. The event loop sends an asynchronous stream without it.

    asgiref starts another thread if the request needs one later, for example to close the response.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context is not None else None
    if executor is not None:
        executor.shutdown(wait=False)
