import socket
from collections.abc import Iterator

import pytest

from tests.voxsite.serve.servers import Server


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path, port) -> Iterator[Server]:
    server = Server(port, tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.descendants()
        server.process.kill()
        server.process.wait()
    for process in server.left():
        process.kill()
