"""The web process: what it says of itself, and what it writes down of requests."""

import pytest
import requests

from tests.apex import site as sites

pytestmark = pytest.mark.enable_socket


@pytest.mark.long
def test_response_does_not_name_the_server_and_ignores_forged_headers(tmp_path):
    with sites.running(tmp_path) as site:
        response = requests.get(
            f"{site.address}/health?token=secret", headers={"X-Forwarded-For": "192.0.2.1"}, timeout=30
        )
    assert response.status_code == 200
    assert "Server" not in response.headers
    log = (tmp_path / "web.log").read_text()
    assert "GET /health?token=secret" in log
    # Only the proxies that the operator counts may say who asks.
    assert "192.0.2.1" not in log
