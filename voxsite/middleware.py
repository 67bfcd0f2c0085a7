"""Middleware for every response."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from accounts import database_connection


class StreamsHoldNoConnection:
    """Releases the database connection before a response begins to stream.

    Django keeps the connection until the response is closed. Then 16 clients that read slowly, or never, could occupy
    the whole pool and stop the site (measured). This middleware is the outermost one, because others may use the
    database after the view.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.streaming:
            database_connection.release()
        return response
