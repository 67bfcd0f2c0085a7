"""Lets Groq's packages in: they put `/openai` before every address, whatever base URL they are given.

Source: groq 1.7.0 (PyPI) and groq-sdk 1.6.0 (npm), read 2026-11-30.
"""

from collections.abc import Awaitable, Callable

from voxsite.body_guard import Receive, Scope, Send

PREFIX = "/openai"
# Their chat has models that we do not.
SERVED = tuple(f"{PREFIX}{path}" for path in ("/v1/audio/", "/v1/models"))


class GroqAddresses:
    """An ASGI application that hands requests on, without Groq's prefix where OpenAI's audio API or the models follow.

    It stands before all others, so that limits, errors and counts are those of the address itself.
    """

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(SERVED):
            raw = scope.get("raw_path") or b""
            scope = {
                **scope,
                "path": scope["path"].removeprefix(PREFIX),
                "raw_path": raw.removeprefix(PREFIX.encode()),
            }
        await self._application(scope, receive, send)
