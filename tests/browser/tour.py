"""A tour of the whole site: an account in which there is something of everything, and every page and state to look at.

The tests of accessibility and `script/screenshots` go the same way. A new page gets a `Stop` here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, sign_up
from tests.database import PROJECT_DIR

AUDIO = PROJECT_DIR / "tests/fixtures/audio"
TRANSCRIPTION_MS = 240_000


def _stay(page: Page) -> None:
    """Do nothing: the page is looked at as it opens."""


@dataclass(frozen=True)
class Stop:
    """A page in a state. name: of its picture. act: what a person does there first."""

    name: str
    address: str
    act: Callable[[Page], None] = _stay


DOCS = (
    *("keys", "recordings", "results", "webhooks", "errors", "limits"),
    *("native", "account", "chat", "openai", "deepgram", "voxnexus", "transcribeapi", "asr"),
)
GUIDES = ("deepgram", "openai", "transcribeapi", "voxnexus", "voxscriber", "whisper-asr")
PUBLIC = (
    Stop("landing", "/"),
    Stop("pricing", "/pricing/"),
    Stop("docs", "/docs/"),
    *(Stop(f"docs-{slug}", f"/docs/{slug}/") for slug in DOCS),
    *(Stop(f"docs-from-{slug}", f"/docs/from/{slug}/") for slug in GUIDES),
    Stop("status", "/status/"),
    Stop("sign-up", "/accounts/signup/"),
    Stop("sign-up-errors", "/accounts/signup/", lambda page: _refused(page, "Create account")),
    Stop("sign-in", "/accounts/login/"),
    Stop("sign-in-errors", "/accounts/login/", lambda page: _refused(page, "Sign in")),
    Stop("password-forgotten", "/accounts/password/reset/"),
    Stop("not-found", "/nowhere/"),
)


# Of an operator.
OPERATORS = (Stop("operations", "/ops/"), Stop("operations-money", "/ops/?of=money"))

# Of somebody who has just signed up.
EMPTY = (
    Stop("empty-overview", "/overview/"),
    Stop("empty-transcripts", "/transcripts/"),
    Stop("empty-upload", "/transcripts/upload/"),
    Stop("empty-keys", "/keys/"),
    Stop("empty-webhooks", "/webhooks/"),
    Stop("empty-payments", "/billing/payments/"),
    Stop("empty-usage", "/billing/usage/"),
)


def furnish(page: Page, site: str, folder: Path) -> tuple[Stop, ...]:
    """Sign somebody up, leave something of everything in the account, and return what there is to see of it."""
    sign_up(page, site)
    page.goto(f"{site}/transcripts/upload/")
    page.get_by_role("button", name="Try the sample").click()
    page.get_by_role("article").wait_for(timeout=TRANSCRIPTION_MS)
    transcript = page.url
    page.get_by_text("Name and tags").click()
    page.get_by_label("Add a tag").fill("front desk")
    page.get_by_role("button", name="Add", exact=True).click()
    word = page.get_by_role("article").locator("p").first.inner_text().split()[0].strip(".,")
    batch = _batch(page, site, folder)
    paid, payments = _payment(page, site)
    key = _key(page, site)
    endpoint = _endpoint(page, site)
    page.goto(f"{site}/organization/")
    page.get_by_label("Email").first.fill("guest@example.com")
    page.get_by_role("button", name="Send invitation").click()
    expect(page.get_by_text("Invitation sent")).to_be_visible()
    page.goto(f"{site}/dev/mail/")
    page.get_by_role("row", name="guest@example.com").get_by_role("link").first.click()
    invitation = str(page.get_by_role("link", name="/invitations/").get_attribute("href"))
    return (
        Stop("overview", "/overview/"),
        Stop(
            "menu-organizations",
            "/overview/",
            lambda page: _open(page, ".switcher summary, details.switcher > summary"),
        ),
        Stop("transcripts", "/transcripts/"),
        Stop("transcripts-selected", "/transcripts/", lambda page: page.locator("td.pick input").first.check()),
        Stop("transcripts-search", f"/transcripts/?q={word}&sort=name"),
        Stop("transcripts-no-match", "/transcripts/?q=xylophone"),
        Stop("transcripts-search-errors", "/transcripts/?q=!&since=x"),
        Stop("upload", "/transcripts/upload/", lambda page: page.get_by_text("More options").click()),
        Stop("upload-files", "/transcripts/upload/", _choose),
        Stop("transcript", transcript),
        Stop("transcript-found", f"{transcript}?q={word}"),
        Stop("transcript-edit", transcript, lambda page: page.get_by_role("button", name="Edit").click()),
        Stop("transcript-share", transcript, lambda page: page.get_by_text("Share", exact=True).click()),
        Stop("transcript-download", transcript, lambda page: page.get_by_text("Download", exact=True).click()),
        Stop("transcript-names", transcript, lambda page: page.get_by_text("Name and tags").click()),
        Stop("transcript-delete", transcript, lambda page: page.get_by_text("Delete", exact=True).click()),
        Stop("batch", batch),
        Stop("playground", "/playground/"),
        Stop("playground-turn", "/playground/", _chat),
        Stop("usage", "/billing/usage/"),
        Stop("billing", "/billing/"),
        Stop("top-up", "/billing/top-up/"),
        Stop("payments", "/billing/payments/"),
        Stop("paid", paid),
        Stop("refund", payments),
        Stop("ledger", "/billing/ledger/"),
        Stop("billing-settings", "/billing/settings/"),
        Stop("keys", "/keys/"),
        Stop("key", key),
        Stop("requests", "/requests/"),
        Stop("requests-errors", "/requests/?key=none"),
        Stop("webhooks", "/webhooks/"),
        Stop("webhook", endpoint),
        Stop("webhook-new", "/webhooks/new/"),
        Stop("webhook-log", "/webhooks/deliveries/"),
        Stop("members", "/organization/"),
        Stop("activity", "/activity/"),
        Stop("invitation", invitation),
        Stop("organizations-deleted", "/organization/deleted/"),
        Stop("organization-delete", "/organization/delete/"),
        Stop("organization-new", "/organization/new/"),
        Stop("email", "/accounts/email/"),
        Stop("password", "/accounts/password/change/"),
        Stop("two-factor", "/accounts/2fa/"),
        Stop("confirm-password", "/accounts/reauthenticate/"),
        Stop("authenticator-app", "/accounts/2fa/totp/activate/", _confirm_password),
        Stop("passkeys", "/accounts/2fa/webauthn/"),
        Stop("sessions", "/accounts/sessions/"),
        Stop("connected-accounts", "/accounts/3rdparty/"),
        Stop("mails", "/accounts/mails/"),
        Stop("account-delete", "/accounts/delete/", _confirm_password),
    )


def states(made: dict[str, str]) -> tuple[Stop, ...]:
    """Return the stops at states of `tests.browser.states`."""
    return tuple(Stop(f"state-{name}", path) for name, path in made.items())


def dialogs(made: dict[str, str]) -> tuple[Stop, ...]:
    """Return the stops at what a person opens there: menus, dialogs, the window of speakers."""
    conversation = made["conversation"]
    return (
        Stop("dialog-speaker", conversation, _move_a_sentence),
        Stop("speakers", conversation, lambda page: page.locator(".speakers summary").first.click()),
        Stop("find-in-edit", conversation, _find_while_editing),
        Stop("menu-organizations-two", "/overview/", lambda page: _open(page, "details.switcher > summary")),
        Stop("menu-more", "/overview/", lambda page: _open(page, "nav details > summary")),
        Stop("transcripts-filtered", "/transcripts/", lambda page: page.get_by_text("Filter and order").click()),
        Stop("confirm-delete-failed", made["failed"], lambda page: page.get_by_text("Delete", exact=True).click()),
    )


def _move_a_sentence(page: Page) -> None:
    page.get_by_role("button", name="Edit").click()
    page.locator(".who .rename").first.click()
    page.get_by_role("dialog").wait_for()


def _find_while_editing(page: Page) -> None:
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("searchbox", name="Find").fill("the")


def _batch(page: Page, site: str, folder: Path) -> str:
    broken = folder / "notes.mp3"
    broken.write_bytes(b"just words, no sound\n" * 40)
    page.goto(f"{site}/transcripts/upload/")
    page.locator("input[type=file]").set_input_files([AUDIO / "sentence-slt.m4a", broken, AUDIO / "silence.wav"])
    page.get_by_role("button", name="Transcribe 3 files").click()
    expect(page.get_by_role("heading", name="sentence-slt.m4a and 2 others")).to_be_visible()
    expect(page.locator("#progress")).to_have_count(0, timeout=TRANSCRIPTION_MS)
    return page.url


def _payment(page: Page, site: str) -> tuple[str, str]:
    """Pay. Returns the addresses of the page after the payment, and of the page that refunds it."""
    page.goto(f"{site}/billing/top-up/")
    page.get_by_label("Pay $10.00").check()
    page.get_by_role("button", name="Continue to payment").click()
    page.get_by_role("button", name="Pay $10.00").click()
    expect(page.get_by_role("heading", name="$10.00 paid")).to_be_visible()
    paid = page.url
    page.goto(f"{site}/billing/payments/")
    return paid, str(page.get_by_role("link", name="Refund $10.00").first.get_attribute("href"))


def _key(page: Page, site: str) -> str:
    page.goto(f"{site}/keys/")
    page.get_by_label("Name").first.fill("laptop")
    page.get_by_role("button", name="Create key").click()
    key = page.get_by_label("New API key").input_value()
    for path in ("/v1/jobs", "/v1/jobs/none", "/v1/nowhere"):
        page.request.get(f"{site}{path}", headers={"X-API-Key": key})
    page.goto(f"{site}/keys/")
    return str(page.get_by_role("link", name="laptop").first.get_attribute("href"))


def _endpoint(page: Page, site: str) -> str:
    page.goto(f"{site}/webhooks/new/")
    page.get_by_label("URL").fill("https://example.com/hook")
    page.get_by_label("Balance low").check()
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_role("heading", name="https://example.com/hook")).to_be_visible()
    return page.url


def _chat(page: Page) -> None:
    page.get_by_label("Message").fill("normal 12")
    page.get_by_role("button", name="Send").click()
    # The price of the model speaks of output tokens too.
    page.get_by_text(re.compile(r"\d output tokens")).wait_for()


def _choose(page: Page) -> None:
    page.locator("input[type=file]").set_input_files([AUDIO / "sentence-slt.m4a", AUDIO / "silence.wav"])


def _confirm_password(page: Page) -> None:
    """Confirm the password where the page asks for it first."""
    if "/reauthenticate/" in page.url:
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url(lambda url: "/reauthenticate/" not in url)


def _open(page: Page, selector: str) -> None:
    for summary in page.locator(selector).all():
        if summary.is_visible():
            summary.click()
            return


def _refused(page: Page, button: str) -> None:
    page.get_by_label("Email").fill("nobody@example.com")
    page.get_by_label("Password").fill("x")
    page.get_by_role("button", name=button, exact=True).click()
    page.locator(".error, .note.bad, [role=alert]").first.wait_for()
