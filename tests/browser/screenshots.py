"""Pictures of every page and state, for people to look at. `script/screenshots` runs it.

Usage: python -m tests.browser.screenshots FOLDER
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Error, sync_playwright

from tests import product
from tests.apex import scripted
from tests.browser import tour
from tests.browser.conftest import CHROMIUM_SWITCHES, DESKTOP, PHONE, sign_up

SIZES = (DESKTOP, PHONE)
SCHEMES = ("light", "dark")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as made, scripted.running() as models, sync_playwright() as playwright:
        data = Path(made) / "data"
        data.mkdir()
        switches = {"APEX_UPSTREAM_BASE_URL": f"{models.address}/first"}
        with product.running_first(data, **switches) as site:
            browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_SWITCHES)
            newcomer, member = browser.new_context(), browser.new_context()
            sign_up(newcomer.new_page(), site.address)
            stops = tour.furnish(member.new_page(), site.address, Path(made))
            for state, some in (
                (None, tour.PUBLIC),
                (newcomer.storage_state(), tour.EMPTY),
                (member.storage_state(), stops),
            ):
                take(browser, site.address, some, state=state, folder=folder)
            browser.close()


def take(browser: Browser, site: str, stops: tuple[tour.Stop, ...], *, state: object, folder: Path) -> None:
    for size in SIZES:
        for scheme in SCHEMES:
            context = browser.new_context(
                viewport=size,  # type: ignore[arg-type]  # a dict with width and height
                color_scheme=scheme,  # type: ignore[arg-type]  # one of its words
                reduced_motion="reduce",
                storage_state=state,  # type: ignore[arg-type]  # what a context gave
            )
            page = context.new_page()
            for stop in stops:
                name = f"{stop.name}-{size['width']}-{scheme}.png"
                try:
                    page.goto(stop.address if stop.address.startswith("http") else f"{site}{stop.address}")
                    stop.act(page)
                    page.screenshot(path=folder / name, full_page=True)
                except Error as error:
                    print(f"{name}: {error.message.splitlines()[0]}", file=sys.stderr)
            context.close()
    print(f"{len(stops)} pages: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
