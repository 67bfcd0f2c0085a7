"""The whole product, and a Chromium that looks at it."""

import itertools
import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Download, Page, expect, sync_playwright

from tests import product
from tests.apex import scripted

CHROMIUM_SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# A microphone that beeps, which the person allows.
CHROMIUM_SWITCHES += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
FORMS_THAT_REFUSE = ("/transcripts/upload/", "/webhooks/new/")
PASSWORD = "quiet river 42 stones"
# Playwright itself expects what it is told of within 5 s, in which a busy machine may not show a page.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def clean_redis() -> None:
    """Replaces the fixture of the other tests: the product's Redis is its own, and is not emptied under it."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running product with a fresh data folder, and scripted language models behind it."""
    folder = tmp_path_factory.mktemp("product")
    with (
        scripted.running() as models,
        product.running(
            folder, APEX_UPSTREAM_BASE_URL=f"{models.address}/first", VOXSITE_ALLOW_PRIVATE_ADDRESSES="on"
        ) as running,
    ):
        yield running.address


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium where there is one, else the one that Playwright installed.

    It ends with the tests of this folder: Playwright's event loop runs in this thread, and Django refuses the
    database there.
    """
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_SWITCHES)
        yield browser
        browser.close()


def is_fault(message: ConsoleMessage) -> bool:
    """Tell whether the console names a fault of the site. Chromium also reports refused forms and broken uploads."""
    url = message.location["url"]
    is_refusal = re.search("status of 40[02]", message.text) is not None and url.endswith(FORMS_THAT_REFUSE)
    # A second person's save of the same sentence, a sentence that is too long, and saves while a test is offline.
    is_refusal |= re.search("status of 40[09]", message.text) is not None and "/sentences/" in url
    is_refusal |= "ERR_INTERNET_DISCONNECTED" in message.text
    # A link to a transcript that was revoked.
    is_refusal |= "status of 404" in message.text and "/s/" in url
    is_broken = "ERR_CONNECTION_RESET" in message.text and "/uploads/" in url
    return message.type == "error" and not is_refusal and not is_broken


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a window of a new person. A broken script or a breach of the content policy fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_one(**settings: object) -> Page:
        context = chromium.new_context(**{"viewport": DESKTOP, **settings})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if is_fault(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def download_as(page: Page, name: str) -> Download:
    """Download the transcript of the page in a format, by its name in the panel."""
    page.get_by_text("Download", exact=True).click()
    page.get_by_role("radio", name=name, exact=True).check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download file").click()
    page.keyboard.press("Escape")
    return download.value


def sign_up(page: Page, site: str) -> str:
    """Make an account and confirm its address by the mail that development keeps; return the address."""
    email = f"anna{next(numbers)}@example.com"
    page.goto(f"{site}/")
    page.get_by_role("link", name="Start free").first.click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    page.get_by_role("link", name="Open development mail").click()
    page.get_by_role("row", name=email).get_by_role("link").first.click()
    page.get_by_role("link", name="accounts/confirm-email").click()
    page.get_by_role("button", name="Confirm address").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return email


@pytest.fixture(scope="package")
def signed_in(chromium: Browser, site: str) -> dict:
    """The cookies of somebody who made an account: sign-ups are few, because the product limits them by address."""
    context = chromium.new_context(viewport=DESKTOP)
    sign_up(context.new_page(), site)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def person(open_window: Callable[..., Page], signed_in: dict) -> Page:
    """A window in which somebody is signed in."""
    return open_window(storage_state=signed_in)
