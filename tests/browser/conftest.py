"""The whole product, and a Chromium that looks at it."""

import itertools
import re
import shutil
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Download, Page, expect, sync_playwright

from tests import identity_provider, product
from tests.apex import scripted
from tests.browser import states

CHROMIUM_SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# A microphone that beeps, which the person allows.
CHROMIUM_SWITCHES += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
FORMS_THAT_REFUSE = ("/transcripts/upload/", "/webhooks/new/", "/organization/delete/", "/organization/invite/")
PASSWORD = "quiet river 42 stones"
# Playwright itself expects what it is told of within 5 s, in which a busy machine may not show a page.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def clean_redis() -> None:
    """Replaces the fixture of the other tests: the product's Redis is its own, and is not emptied under it."""


@pytest.fixture(scope="session")
def github() -> Iterator[identity_provider.Provider]:
    """A GitHub server, where Ann is signed in until a test says otherwise."""
    with identity_provider.running() as provider:
        yield provider


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, github: identity_provider.Provider) -> Iterator[product.Product]:
    """A running product with a fresh data folder, scripted language models behind it, and sign-in by providers."""
    folder = tmp_path_factory.mktemp("product")
    client = {"CLIENT_ID": identity_provider.CLIENT_ID, "CLIENT_SECRET": identity_provider.CLIENT_SECRET}
    with (
        scripted.running() as models,
        product.running(
            folder,
            APEX_UPSTREAM_BASE_URL=f"{models.address}/first",
            VOXSITE_ALLOW_PRIVATE_ADDRESSES="on",
            VOXSITE_GITHUB_URL=github.address,
            **{f"VOXSITE_{name}_{what}": value for name in ("GOOGLE", "GITHUB") for what, value in client.items()},
        ) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def site(whole: product.Product) -> str:
    """The address of the running product."""
    return whole.address


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


def wait_until(page: Page, expression: str, *, seconds: float = 30) -> None:
    """Wait until a JavaScript expression, or a function, is true.

    Playwright's `wait_for_function` evaluates it in the page, which our Content Security Policy forbids: it works only
    where the first look finds it true.
    """
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(50)


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
    expect(page.get_by_role("heading", name="Check your email")).to_be_visible()
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


@pytest.fixture(scope="package")
def operating(chromium: Browser, whole: product.Product) -> dict:
    """The cookies of an operator."""
    context = chromium.new_context(viewport=DESKTOP)
    email = sign_up(context.new_page(), whole.address)
    promote = f"User.objects.filter(email={email!r}).update(is_staff=True, is_superuser=True)"
    whole.manage("shell", "--no-imports", "-c", f"from accounts.models import User; {promote}")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(scope="package")
def stocked(chromium: Browser, whole: product.Product) -> tuple[dict, dict[str, str]]:
    """(cookies, paths): of somebody who has all states of `tests.browser.states`, and where each is.

    Tests may add words to the Hebrew and the Arabic transcript, and change nothing else.
    """
    context = chromium.new_context(viewport=DESKTOP)
    email = sign_up(context.new_page(), whole.address)
    made = states.made_in(whole, email=email)
    state = context.storage_state()
    context.close()
    return state, made
