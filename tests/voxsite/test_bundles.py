"""The joined style sheet has all parts in their order, is collected, and follows its sources."""

import os
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

from voxsite import bundles
from voxsite.bundles import BUNDLE, PARTS, BundleFinder

CSS = Path("static/css")


@pytest.fixture
def finder(settings, tmp_path) -> BundleFinder:
    """The finder for a project of its own, with a small file for each part."""
    settings.BASE_DIR, settings.DATA_DIR = tmp_path / "code", tmp_path / "data"
    (settings.BASE_DIR / CSS).mkdir(parents=True)
    for part in PARTS:
        (settings.BASE_DIR / CSS / f"{part}.css").write_text(f".{part} {{}}\n")
    return BundleFinder()


def test_every_style_sheet_of_the_site_is_in_it(settings):
    assert {f"{part}.css" for part in PARTS} == {file.name for file in (settings.BASE_DIR / CSS).iterdir()}
    text = Path(finders.find(BUNDLE)).read_text()
    places = [text.index((settings.BASE_DIR / CSS / f"{part}.css").read_text()) for part in PARTS]
    assert places == sorted(places)


def test_changed_part_is_joined_anew(finder, settings):
    made = Path(finder.find(BUNDLE))
    assert ".tokens {}" in made.read_text()
    changed = settings.BASE_DIR / CSS / "chat.css"
    changed.write_text(".changed {}\n")
    os.utime(changed, ns=(made.stat().st_mtime_ns + 10**9,) * 2)
    assert ".changed {}" in Path(finder.find(BUNDLE)).read_text()
    assert [file.name for file in made.parent.iterdir()] == ["voxsite.css"], "nothing unfinished is left"


def test_other_files_are_not_its_business(finder):
    assert finder.find("css/base.css") == []
    assert finder.find("css/base.css", find_all=True) == []
    assert finder.find(BUNDLE, find_all=True) == [finder.find(BUNDLE)]


def test_production_collects_it_with_its_hash_and_compressed(settings, tmp_path, db):
    settings.STATIC_ROOT = tmp_path / "collected"
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    names = {file.name for file in (settings.STATIC_ROOT / "css").iterdir()}
    assert any(name.startswith("voxsite.") and name.endswith(".css.gz") for name in names)


def test_page_asks_for_one_style_sheet(db):
    page = Client().get("/").content.decode()
    assert page.count('rel="stylesheet"') == 1
    assert f"/static/{bundles.BUNDLE}" in page
