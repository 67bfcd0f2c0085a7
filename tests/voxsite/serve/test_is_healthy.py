"""Whether the web process answers, as containers and the start of the server ask it."""

import subprocess
import sys

import pytest

from tests.product import PROJECT_DIR, environment_of, free_port
from tests.voxsite.serve.web_pages import answering

pytestmark = pytest.mark.enable_socket


def status_of(port, **switches):
    """Return the exit status of the program."""
    environment = environment_of(PORT=str(port), **switches)
    return subprocess.run(
        [sys.executable, "-m", "voxsite.serve.is_healthy"], cwd=PROJECT_DIR, env=environment, timeout=30, check=False
    ).returncode


def test_site_that_answers_is_healthy_and_is_asked_by_a_name_that_it_knows():
    asked = []
    with answering(200, asked) as port:
        assert status_of(port, HOST="0.0.0.0", VOXSITE_HOSTS=".example.com,other.example") == 0
    assert asked == [("/health", "example.com")]


def test_site_that_fails_or_is_not_there_is_not_healthy():
    with answering(503) as port:
        assert status_of(port) == 1
    assert status_of(free_port()) == 1
