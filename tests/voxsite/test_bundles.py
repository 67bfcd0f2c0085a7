"""The joined style sheet has all parts in their order, is collected, and follows its sources."""

import os
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from django_htmx.jinja import htmx_script

from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from voxsite.bundles import BUNDLES, COMMENT, HTMX, STYLES, BundleFinder

CSS = Path("static/css")
JS = Path("static/js")
PARTS = BUNDLES[STYLES]


@pytest.fixture
def finder(settings, tmp_path) -> BundleFinder:
    """The finder for a project of its own, with a small file for each part."""
    settings.BASE_DIR, settings.DATA_DIR = tmp_path / "code", tmp_path / "data"
    (settings.BASE_DIR / CSS).mkdir(parents=True)
    (settings.BASE_DIR / JS).mkdir()
    for path, parts in BUNDLES.items():
        for part in parts:
            kind = path.partition("/")[0]
            (settings.BASE_DIR / "static" / kind / f"{part}.{kind}").write_text(f".{part} {{}}\n")
    return BundleFinder()


def test_every_style_sheet_of_the_site_is_in_it(settings):
    assert {f"{part}.css" for part in PARTS} == {file.name for file in (settings.BASE_DIR / CSS).iterdir()}
    text = Path(finders.find(STYLES)).read_text()
    parts = [COMMENT.sub("", (settings.BASE_DIR / CSS / f"{part}.css").read_text()) for part in PARTS]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_style_sheet_has_no_comments_and_everything_else(finder, settings):
    """A browser reads the same rules from it as from its parts."""
    (settings.BASE_DIR / CSS / "base.css").write_text("/* One\n * two. */\na { b: c }\nd { /* e */ f: g }\n")
    assert "a { b: c }\nd { f: g }\n" in Path(finder.find(STYLES)).read_text()


def test_no_text_in_a_style_sheet_has_what_begins_a_comment(settings):
    for part in PARTS:
        style = COMMENT.sub("", (settings.BASE_DIR / CSS / f"{part}.css").read_text())
        assert "/*" not in style
        assert "*/" not in style


def test_changed_part_is_joined_anew(finder, settings):
    made = Path(finder.find(STYLES))
    assert ".tokens {}" in made.read_text()
    changed = settings.BASE_DIR / CSS / "chat.css"
    changed.write_text(".changed {}\n")
    os.utime(changed, ns=(made.stat().st_mtime_ns + 10**9,) * 2)
    assert ".changed {}" in Path(finder.find(STYLES)).read_text()
    assert [file.name for file in made.parent.iterdir()] == ["voxsite.css"], "nothing unfinished is left"


def test_other_files_are_not_its_business(finder):
    assert finder.find("css/base.css") == []
    assert finder.find("css/base.css", find_all=True) == []
    assert finder.find(STYLES, find_all=True) == [finder.find(STYLES)]


@pytest.mark.long
def test_production_collects_it_with_its_hash_and_compressed(settings, tmp_path, db):
    settings.STATIC_ROOT = tmp_path / "collected"
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    names = {file.name for file in (settings.STATIC_ROOT / "css").iterdir()}
    assert any(name.startswith("voxsite.") and name.endswith(".css.gz") for name in names)


@pytest.mark.parametrize("path", [path for path in BUNDLES if path.endswith(".js")])
def test_script_of_a_page_has_its_parts_in_their_order(settings, path):
    text = Path(finders.find(path)).read_text()
    sources = [settings.BASE_DIR / JS / f"{part}.js" for part in BUNDLES[path] if part != HTMX]
    places = [text.index(source.read_text()) for source in sources]
    assert places == sorted(places)
    assert ("var htmx=" in text) == (HTMX in BUNDLES[path])


def test_htmx_is_the_version_of_its_library(settings):
    settings.DEBUG = False
    assert "htmx-2.min.js" in htmx_script()


@pytest.mark.long
@pytest.mark.parametrize(
    ("address", "script"),
    [
        ("/overview/", "member"),
        ("/transcripts/", "member"),
        ("/transcripts/{}/", "transcript-page"),
        ("/transcripts/upload/", "upload-page"),
        ("/playground/", "playground-page"),
        ("/billing/top-up/", "top-up-page"),
    ],
)
def test_page_asks_for_one_style_sheet_and_one_script(alice, organization, client_of, address, script):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    page = client_of(alice).get(address.format(job.pk)).content.decode()
    assert re.findall(r'rel="stylesheet" href="([^"]+)"', page) == [f"/static/{STYLES}"]
    assert re.findall(r'<script[^>]* src="([^"]+)"', page) == [f"/static/js/{script}.js"]


def test_visitors_page_asks_for_one_style_sheet_and_one_script(db):
    page = Client().get("/").content.decode()
    assert page.count('rel="stylesheet"') == 1
    assert page.count("<script") == 1
