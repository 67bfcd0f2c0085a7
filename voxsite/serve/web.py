"""`python -m voxsite.serve.web`: the web process, under the supervisor and in containers."""

import importlib

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from voxsite import env
from voxsite.serve import config, heap
from voxsite.serve.http_protocol import HttpProtocol

# When the process is stopped, it waits this long for open responses.
GRACE_SECONDS = env.integer("VOXSITE_WEB_GRACE_SECONDS", default=3)


def main() -> None:
    """Serve until a signal ends the process."""
    server_config = config.read()
    heap.give_back_now_and_then()
    # Only now: the import sets Django up.
    asgi = importlib.import_module("voxsite.asgi")
    asgi.share_connections()
    asgi.request_log.start()
    heap.collect_less_often()
    uvicorn.run(
        asgi.application,
        host=server_config.host,
        port=server_config.port,
        http=HttpProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        server_header=False,
        # The site reads these headers itself, by the number of proxies (PROXY_COUNT in the settings).
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # Off in production: the query of a signed upload address is a credential. A proxy can log requests.
        access_log=server_config.is_development,
        # uvicorn's own format, with colors, is for people. Without it, the settings say how to log.
        log_config=None if env.text("VOXSITE_LOG_FORMAT") == "json" else LOGGING_CONFIG,
    )


if __name__ == "__main__":
    main()
