"""The name and the tags of a transcript on its page."""

from io import BytesIO

import pytest
from docx import Document

from tests.transcription.factories import make_batch
from tests.transcription.pages.conftest import complete, page_text
from transcription.jobs import naming
from transcription.models import Job


def test_new_name_stands_on_pages_and_names_downloads(alice, job, client_of):
    complete(job)
    client = client_of(alice)
    address = f"/transcripts/{job.pk}/"
    assert client.post(f"{address}rename/", {"name": "Board <May>.m4a"}).status_code == 302
    assert "<h1><bdi>Board &lt;May&gt;.m4a</bdi></h1>" in page_text(client, address)
    assert "Board &lt;May&gt;.m4a" in page_text(client, "/transcripts/")
    assert 'filename="Board <May>.txt"' in client.get(f"{address}download/txt/")["Content-Disposition"]
    word = client.get(f"{address}download/docx/").content
    assert Document(BytesIO(word)).paragraphs[0].text == "Board <May>.m4a"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("12.05.2026 Board", "12.05.2026 Board.txt"),
        ("Board 1.2.m4a", "Board 1.2.txt"),
        ("..\\..\\x", ".. .. x.txt"),
        ("a/b", "a b.txt"),
        ("Board\u202efdp", "Boardfdp.txt"),
    ],
)
def test_download_is_called_as_the_transcript(alice, job, client_of, name, file_name):
    complete(job)
    client = client_of(alice)
    client.post(f"/transcripts/{job.pk}/rename/", {"name": name})
    answer = client.get(f"/transcripts/{job.pk}/download/txt/")
    assert answer["Content-Disposition"] == f'attachment; filename="{file_name}"'


def test_recording_of_a_batch_keeps_its_name(alice, organization, client_of):
    batch = make_batch(organization, 2)
    client = client_of(alice)
    client.post(f"/transcripts/{batch.pk}/rename/", {"name": "Calls of May"})
    page = page_text(client, f"/transcripts/{batch.pk}/?item=2")
    assert "Calls of May" in page
    assert "<h1><bdi>sentence-slt.wav</bdi></h1>" in page
    assert "Name and tags" not in page


def test_tags_are_added_and_removed(alice, job, client_of):
    client = client_of(alice)
    address = f"/transcripts/{job.pk}/"
    for name in ("R&D", "legal"):
        client.post(f"{address}tags/", {"tag": name})
    page = page_text(client, address)
    assert "?tag=R%26D" in page
    assert "Remove “legal”" in page
    client.post(f"{address}tags/", {"remove": "legal"})
    assert "legal" not in page_text(client, address)


def test_refused_name_and_tag_say_why(alice, job, client_of):
    client = client_of(alice)
    for form, words in (
        (("rename/", {"name": " "}), "Enter a name of up to 200"),
        (("tags/", {"tag": "x" * 41}), "Enter a tag of up to 40"),
        (("tags/", {"remove": "\0"}), "Enter a tag of up to 40"),
        (("tags/", {"remove": "other"}), "This transcript does not have the tag “other”."),
    ):
        client.post(f"/transcripts/{job.pk}/{form[0]}", form[1])
        assert words in page_text(client, f"/transcripts/{job.pk}/")


def test_stranger_names_nothing(job, organization, charlie, client_of):
    naming.tag(organization, job_ids=[job.pk], name="legal")
    client = client_of(charlie)
    for path, form in (("rename/", {"name": "mine"}), ("tags/", {"tag": "mine"}), ("tags/", {"remove": "legal"})):
        assert client.post(f"/transcripts/{job.pk}/{path}", form).status_code == 404
    job = Job.objects.get()
    assert (job.name, [tag.name for tag in job.tags.all()]) == ("sentence-slt.wav", ["legal"])
