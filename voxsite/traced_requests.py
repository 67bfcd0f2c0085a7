"""Makes a span of each request, where traces are on."""

from accounts import tracing
from voxsite import request_metrics
from voxsite.body_guard import Application, Message, Receive, Scope, Send

# Load balancers and monitors ask every few seconds.
UNTRACED = ("/health", "/metrics", "/static/")


class TracesRequests:
    """An ASGI application that traces the requests of another one. A trace that the caller names is not joined."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not tracing.is_on() or scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._application(scope, receive, send)
            return
        method = request_metrics.method_of(scope)
        with tracing.span(method, kind="server") as span:
            span.set(**{"http.request.method": method})

            async def watched_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set(**{"http.response.status_code": message["status"]}, **_request_id(message))
                    if message["status"] >= 500:
                        span.fail(str(message["status"]))
                await send(message)

            try:
                await self._application(scope, receive, watched_send)
            finally:
                # A name of the site's own: the address itself may have ids of other people, or a signature.
                view = request_metrics.view_of(scope)
                span.rename(f"{method} {view}")
                span.set(**{"http.route": view})


def _request_id(message: Message) -> dict[str, str]:
    """Return the id by which lines of the log are found."""
    found = [value for name, value in message["headers"] if name.lower() == b"x-request-id"]
    return {"request_id": found[0].decode("latin-1")} if found else {}
