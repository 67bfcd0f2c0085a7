"""What browsers and search engines ask every site for."""

import re
import xml.etree.ElementTree as ET

import pytest
from django.test import Client


@pytest.mark.django_db
def test_icon_is_found_by_programs_that_read_no_page():
    response = Client().get("/favicon.ico")
    assert response.status_code == 302
    assert response.url == "/static/favicon.svg"


@pytest.mark.django_db
def test_robots_leave_the_pages_of_members_alone():
    response = Client().get("/robots.txt")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    text = response.content.decode()
    assert text.startswith("User-agent: *\n")
    assert "Disallow: /transcripts/\n" in text
    assert "Disallow: /\n" not in text
    assert "Sitemap: http://localhost:8000/sitemap.xml" in text


@pytest.mark.long
@pytest.mark.django_db
def test_site_map_has_public_pages_that_exist_and_takes_no_address_from_the_request(settings):
    settings.ALLOWED_HOSTS = ["*"]
    text = Client().get("/sitemap.xml", headers={"Host": "evil.example"}).content.decode()
    assert "evil.example" not in text
    ET.fromstring(text)
    places = re.findall(r"<loc>(.*?)</loc>", text)
    assert len(places) > 5
    for place in places:
        assert place.startswith(settings.SITE_URL)
        assert Client().get(place.removeprefix(settings.SITE_URL)).status_code == 200, place


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/favicon.ico", "/robots.txt", "/sitemap.xml"])
def test_they_may_be_kept(path):
    assert "public" in Client().get(path)["Cache-Control"]
    assert Client().post(path).status_code == 405
