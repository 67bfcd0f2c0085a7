"""The whole product as script/server starts it, and a Chromium that looks at it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
# What the tests' own world sets must not reach the product: it runs on embedded defaults, as on a fresh machine.
SWITCHES = ("DATABASE_URL", "REDIS_URL", "VOXSITE_ENGINE_SOCKET", "HOST", "DJANGO_SETTINGS_MODULE", "SECRET_KEY")
START_SECONDS = 120
STOP_SECONDS = 20
CHROMIUM_SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(autouse=True)
def clean_redis() -> None:
    """Replaces the fixture of the other tests: the product's Redis is its own, and is not emptied under it."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running product with a fresh data folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("product")
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES} | {
        "PORT": str(port),
        "VOXSITE_ENV": "development",
        "VOXSITE_DATA_DIR": str(folder),
        "VOXSITE_ENGINE": "pocketsphinx",
    }
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "voxsite.serve"], cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log
        )
        address = f"http://localhost:{port}"
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_ready(f"{address}/health/ready"):
                alive = server.poll() is None and time.monotonic() < deadline
                assert alive, (folder / "server.log").read_text()[-4000:]
                time.sleep(0.3)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=STOP_SECONDS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium where there is one, else the one that Playwright installed."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a window of a new person. A broken script or a breach of the content policy fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_one(**settings: object) -> Page:
        context = chromium.new_context(**{"viewport": DESKTOP, **settings})  # type: ignore[arg-type]
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def _is_ready(address: str) -> bool:
    try:
        return requests.get(address, timeout=3).status_code == 200
    except requests.RequestException:
        return False
