"""What must hold for every response."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from accounts import database_connection


class StreamsHoldNoConnection:
    """Gives the database connection back before a stream begins.

    Django keeps it until the response is closed. A client that reads slowly, or never, would hold one for as long:
    as many such clients as the pool has connections stop the site (measured: 16). Outermost, because middleware may use
    the database after the view.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.streaming:
            database_connection.release()
        return response
