"""axe-core finds nothing serious or critical on any page, in any state, light and dark."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests import clients
from tests.browser import tour
from tests.browser.conftest import DESKTOP, PHONE, sign_up

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
AXE = "axe-core@4.14.1"
RUN = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations"] });
    return found.violations
        .filter((rule) => ["serious", "critical"].includes(rule.impact))
        .map((rule) => `${rule.id}: ${rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
}"""

# Single words in cells of tables that stand on more than one line.
BROKEN_WORDS = """() => [...document.querySelectorAll("#content-main :is(td, th):not(.long)")].filter((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return !/\\s/.test(cell.innerText.trim()) && range.getClientRects().length > 1;
}).map((cell) => cell.innerText)"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    node = clients.node_in(Path(os.environ["VOXSITE_TEST_DIR"]) / "node")
    folder = tmp_path_factory.mktemp("axe")
    node.install(folder, AXE)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def furnished(
    chromium: Browser, site: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, tuple[tour.Stop, ...]]:
    context = chromium.new_context(viewport=DESKTOP)
    stops = tour.furnish(context.new_page(), site, tmp_path_factory.mktemp("files"))
    state = context.storage_state()
    context.close()
    return state, stops


def findings(page: Page, site: str, stops: tuple[tour.Stop, ...], axe: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for stop in stops:
        page.goto(stop.address if stop.address.startswith("http") else f"{site}{stop.address}")
        stop.act(page)
        page.evaluate(axe)
        if problems := page.evaluate(RUN):
            found[stop.name] = problems
    return found


def open_like(chromium: Browser, *, scheme: str, size: dict, state: dict | None = None) -> Page:
    # Reduced motion: a menu that fades in has less contrast for a moment.
    context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", storage_state=state)
    return context.new_page()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_members(chromium, site, furnished, axe, scheme, size):
    state, stops = furnished
    page = open_like(chromium, scheme=scheme, size=size, state=state)
    assert findings(page, site, stops, axe) == {}
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_visitors_and_of_an_empty_account(chromium, site, axe, scheme):
    page = open_like(chromium, scheme=scheme, size=DESKTOP)
    found = findings(page, site, tour.PUBLIC, axe)
    sign_up(page, site)
    assert found | findings(page, site, tour.EMPTY, axe) == {}
    page.context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_waiting_failed_shared_and_disputed_states_menus_and_dialogs(chromium, site, stocked, axe, scheme, size):
    state, made = stocked
    page = open_like(chromium, scheme=scheme, size=size, state=state)
    assert findings(page, site, (*tour.states(made), *tour.dialogs(made)), axe) == {}
    page.context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_operators(chromium, site, operating, axe, scheme, size):
    page = open_like(chromium, scheme=scheme, size=size, state=operating)
    assert findings(page, site, tour.OPERATORS, axe) == {}
    page.context.close()


def test_pages_of_operators_fit_a_phone_without_breaking_a_word(chromium, site, operating):
    page = open_like(chromium, scheme="light", size=PHONE, state=operating)
    for stop in tour.OPERATORS:
        page.goto(f"{site}{stop.address}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, stop.name
        assert page.evaluate(BROKEN_WORDS) == [], stop.name
    page.context.close()


def test_pages_of_visitors_fit_a_phone(chromium, site):
    page = open_like(chromium, scheme="light", size=PHONE)
    for stop in tour.PUBLIC:
        page.goto(f"{site}{stop.address}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, stop.name
    page.context.close()
