"""`python -m voxsite.serve.web`: the web process, here under the supervisor and in a container alike."""

import uvicorn

from voxsite import env
from voxsite.serve import config
from voxsite.serve.http_protocol import HttpProtocol

# An open page or stream is not waited for longer than this when the process is told to end.
GRACE_SECONDS = env.integer("VOXSITE_WEB_GRACE_SECONDS", default=3)


def main() -> None:
    """Serve until told to end."""
    server_config = config.read()
    uvicorn.run(
        "voxsite.asgi:application",
        host=server_config.host,
        port=server_config.port,
        http=HttpProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        server_header=False,
        # uvicorn would believe addresses by who names them; how many proxies there are decides (settings, PROXY_COUNT).
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # The query of a signed upload address is a credential: in production, a proxy's log is the place for requests.
        access_log=server_config.is_development,
    )


if __name__ == "__main__":
    main()
