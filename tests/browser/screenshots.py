"""Pictures of every page and state, for people to look at. `script/screenshots` runs it.

Usage: python -m tests.browser.screenshots FOLDER [GROUP ...]

GROUP: some of GROUPS, all if none is named.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests import product
from tests.apex import scripted
from tests.browser import states, tour
from tests.browser.conftest import CHROMIUM_SWITCHES, DESKTOP, PHONE, sign_up

SIZES = (DESKTOP, PHONE)
SCHEMES = ("light", "dark")
PROMOTE = "from accounts.models import User; User.objects.filter(email={!r}).update(is_staff=True, is_superuser=True)"
# Fills an account by a page of its person, and returns what there is to see of it.
Fill = Callable[[Page, product.Product, Path], tuple[tour.Stop, ...]]


def _public(_: Page, __: product.Product, ___: Path) -> tuple[tour.Stop, ...]:
    return tour.PUBLIC


def _empty(page: Page, site: product.Product, _: Path) -> tuple[tour.Stop, ...]:
    sign_up(page, site.address)
    return tour.EMPTY


def _member(page: Page, site: product.Product, made: Path) -> tuple[tour.Stop, ...]:
    return tour.furnish(page, site.address, made)


def _states(page: Page, site: product.Product, _: Path) -> tuple[tour.Stop, ...]:
    made = states.made_in(site, email=sign_up(page, site.address))
    return (*tour.states(made), *tour.dialogs(made))


def _operators(page: Page, site: product.Product, _: Path) -> tuple[tour.Stop, ...]:
    site.manage("shell", "--no-imports", "-c", PROMOTE.format(sign_up(page, site.address)))
    return tour.OPERATORS


GROUPS: dict[str, Fill] = {
    "public": _public,
    "empty": _empty,
    "member": _member,
    "states": _states,
    "operators": _operators,
}


def main(folder: Path, groups: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as made, scripted.running() as models, sync_playwright() as playwright:
        data = Path(made) / "data"
        data.mkdir()
        switches = {"APEX_UPSTREAM_BASE_URL": f"{models.address}/first"}
        for provider in ("GOOGLE", "GITHUB"):
            switches |= {f"VOXSITE_{provider}_CLIENT_ID": "none", f"VOXSITE_{provider}_CLIENT_SECRET": "none"}
        for page in ("TERMS", "PRIVACY", "SECURITY"):
            switches[f"VOXSITE_{page}_URL"] = f"https://example.com/{page.lower()}"
        with product.running_first(data, **switches) as site:
            browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_SWITCHES)
            for group in groups:
                context = browser.new_context()
                stops = GROUPS[group](context.new_page(), site, Path(made))
                take(browser, site.address, stops, state=context.storage_state(), folder=folder)
                context.close()
                print(f"{group}: {len(stops)} pages in {folder}")
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


if __name__ == "__main__":
    if unknown := set(sys.argv[2:]) - set(GROUPS):
        sys.exit(f"There is no group {', '.join(sorted(unknown))}. Groups: {', '.join(GROUPS)}.")
    main(Path(sys.argv[1]), sys.argv[2:] or list(GROUPS))
