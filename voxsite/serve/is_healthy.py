"""`python -m voxsite.serve.is_healthy`: exits with status 0 if the web process of this machine answers."""

import http.client
import sys

from voxsite import env
from voxsite.serve import config

ANSWER_SECONDS = 4.0
LOCAL_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a server on all addresses is asked on loopback


def page_answers(server_config: config.ServerConfig) -> bool:
    """Return whether `/health` answers with status 200."""
    # Django refuses unknown host names, and in production "localhost" is one.
    name = env.words("VOXSITE_HOSTS", default=("localhost",))[0].removeprefix(".").replace("*", "localhost")
    connection = http.client.HTTPConnection(
        LOCAL_HOSTS.get(server_config.host, server_config.host), server_config.port, timeout=ANSWER_SECONDS
    )
    try:
        connection.request("GET", "/health", headers={"Host": name})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not page_answers(config.read()))
