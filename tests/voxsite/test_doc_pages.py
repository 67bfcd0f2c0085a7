"""The pages of the docs: each operation on one of them, in an order that leads through all, and found by the search."""

import json
import re

import pytest
from django.test import Client

from tests.browser import tour
from voxsite import api_reference, doc_pages, guides


def test_every_operation_is_on_one_page(db):
    described = [page for page in doc_pages.PAGES for page in page.operations]
    found = [each.anchor for each in api_reference.operations(site_url="https://voxsite.example", key="k")]
    assert sorted(described) == sorted(found)


def test_next_leads_through_all_pages(db):
    path, seen = "/docs/", []
    while path:
        page = Client().get(path).content.decode()
        assert page.count('aria-current="page"') >= 1
        seen.append(path)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert seen[0] == "/docs/"
    assert len(seen) == len(set(seen)) == len(doc_pages.PAGES) + len(guides.GUIDES)


def test_tour_looks_at_every_page():
    looked_at = {stop.address for stop in tour.PUBLIC}
    assert {place.path for _, places in doc_pages.contents() for place in places} <= looked_at


def test_previous_leads_back(db):
    assert 'rel="prev" href="/docs/"' in Client().get("/docs/keys/").content.decode()
    assert 'rel="prev"' not in Client().get("/docs/").content.decode()


def test_unknown_page_is_missing(db):
    assert Client().get("/docs/nothing/").status_code == 404


@pytest.mark.parametrize("page", doc_pages.PAGES, ids=lambda page: page.slug or "first")
def test_page_has_its_sections_and_operations(db, page):
    shown = Client().get(page.path).content.decode()
    anchors = re.findall(r'<section class="docs-row" id="([^"]+)"', shown)
    assert set(page.operations) <= set(anchors)
    assert set(page.sections) <= set(anchors)
    assert "{{" not in shown
    described = re.search(r'<meta name="description" content="([^"]*)"', shown)
    assert 40 <= len(described[1]) <= 160


def test_anchors_are_unique_so_that_an_old_link_finds_its_page(db):
    anchors = [path.partition("#")[2] for path, *_ in sections() if not path.startswith("/docs/from/")]
    assert len(anchors) == len(set(anchors))
    # Those that were on the one page there was.
    assert {"start", "webhooks", "limits", "prices", "errors", "chat", "create_transcription"} <= set(anchors)


def sections():
    return json.loads(Client().get("/docs/search.json").content)


def test_search_has_the_text_of_each_section_and_no_key_of_a_reader(alice, organization, client_of):
    found = json.loads(client_of(alice).get("/docs/search.json").content)
    assert found == sections()
    (limits,) = (each for each in found if each[0] == "/docs/limits/#limits")
    assert limits[1:3] == ["Limits and prices", "Limits"]
    assert "x-ratelimit-limit-requests: 1000" in limits[3]
    assert "<" not in limits[2]
    assert "Copy" not in next(each[3] for each in found if each[0].endswith("#create_transcription"))


def test_sitemap_has_every_page(db):
    listed = Client().get("/sitemap.xml").content.decode()
    for page in doc_pages.PAGES:
        assert f"{page.path}</loc>" in listed


def test_table_of_errors_names_types(db):
    shown = Client().get("/docs/errors/").content.decode()
    for status, types, meaning in doc_pages.ERRORS:
        assert 400 <= status < 600
        assert meaning in shown
        assert all(f"<code>{each}</code>" in shown for each in types)
