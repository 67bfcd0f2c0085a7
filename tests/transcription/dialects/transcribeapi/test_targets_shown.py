"""Where a file is to be sent: in one request, or in parts of 5 MiB, with everything that the packages read."""

import pytest

from tests.transcription.factories import make_submission
from transcription import submissions
from transcription.dialects.transcribeapi import targets_shown
from transcription.jobs import Source
from transcription.models import Upload

pytestmark = pytest.mark.django_db
SITE = "https://voxsite.example"


def item(organization, **source):
    sources = [Source(reference="a", **source)]
    return submissions.submit_sources(make_submission(organization), sources=sources, name="a").items.get()


@pytest.mark.parametrize("size_bytes", [None, 5_000, 100_000_000])
def test_file_is_sent_in_one_request(organization, size_bytes):
    shown = targets_shown.show(item(organization, declared_bytes=size_bytes, name="talk.mp3"), site_url=SITE)
    assert (shown["reference_id"], shown["file_id"], shown["filename"]) == ("a", "a", "talk.mp3")
    upload = shown["upload"]
    assert upload.keys() == {"type", "key", "url", "headers"}
    assert upload["type"] == "put"
    assert upload["url"].startswith(f"{SITE}/uploads/")


def test_large_file_is_sent_in_parts_of_5_mib(organization):
    """The documentation's own file: 150 MiB are 30 parts."""
    upload = targets_shown.show(item(organization, declared_bytes=157_286_400), site_url=SITE)["upload"]
    assert (upload["type"], upload["part_size"]) == ("multipart", 5_242_880)
    assert [part["part_number"] for part in upload["parts"]] == list(range(1, 31))
    assert all(part["url"].startswith(f"{SITE}/uploads/") for part in upload["parts"])
    assert upload["upload_id"]
    assert upload["key"]
    assert {upload["complete_url"][:5], upload["abort_url"][:5]} == {"https"}


def test_parts_keep_their_upload_when_they_are_asked_for_again(organization):
    one = item(organization, declared_bytes=157_286_400)
    first, second = (targets_shown.show(one, site_url=SITE)["upload"] for _ in range(2))
    assert (first["key"], first["upload_id"]) == (second["key"], second["upload_id"])


def test_file_that_has_come_has_no_address(organization):
    one = item(organization)
    Upload.objects.update(state="received")
    one.upload.refresh_from_db()
    shown = targets_shown.show_if_waiting(one, site_url=SITE)
    assert shown == {"reference_id": "a", "file_id": "a", "filename": "a", "status": "received"}
