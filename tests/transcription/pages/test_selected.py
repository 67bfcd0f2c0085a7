"""Several transcripts at once, from the list: deleted, tagged, downloaded."""

import io
import zipfile

import pytest
from django.utils.html import escape

from billing import statements
from tests.transcription.downloads import content_of, cut
from tests.transcription.factories import make_batch, make_job
from tests.transcription.pages.conftest import complete, page_text
from transcription import jobs
from transcription.jobs import naming
from transcription.models import Job

ADDRESS = "/transcripts/selected/"


@pytest.fixture
def three(organization) -> list[Job]:
    return [complete(make_job(organization), f"talk {number}") for number in range(3)]


def do(client, chosen, act, **fields):
    return client.post(ADDRESS, {"job": [str(job.pk) for job in chosen], "act": act, **fields})


def test_chosen_ones_are_deleted_and_no_others(alice, three, client_of):
    client = client_of(alice)
    back = "q=talk&status=completed"
    answer = do(client, three[:2], "delete", back=back)
    assert answer["Location"].endswith(f"/transcripts/?{back}")
    assert list(Job.objects.all()) == three[2:]
    assert "2 transcripts deleted" in page_text(client, "/transcripts/")
    assert do(client, three[:2], "delete").status_code == 302, "a double click"
    assert "Choose transcripts first" in page_text(client, "/transcripts/")


def test_running_one_is_canceled_and_its_money_is_free_again(alice, organization, job, client_of):
    do(client_of(alice), [job], "delete")
    assert not Job.objects.exists()
    assert statements.balance(organization).held_micros == 0


def test_tags_are_added_and_removed(alice, three, client_of):
    client = client_of(alice)
    do(client, three[:2], "tag", tag="legal")
    page = page_text(client, "/transcripts/")
    assert page.count('class="tag"') == 2
    assert client.get("/transcripts/?tag=legal").context["jobs"] == [three[1], three[0]]
    do(client, three[:1], "untag", tag="legal")
    assert client.get("/transcripts/?tag=legal").context["jobs"] == [three[1]]
    do(client, three, "tag", tag="x" * 41)
    assert "Enter a tag of up to 40" in page_text(client, "/transcripts/")


@pytest.mark.long
@pytest.mark.parametrize(
    ("tag", "words"),
    [
        (" LEGAL ", "Tag “LEGAL” removed from 2 transcripts."),
        ("other", "None of these transcripts has the tag “other”."),
        ("\0", "Enter a tag of up to 40"),
        ("ot\0her", "None of these transcripts has the tag “ot her”."),
    ],
)
def test_removing_a_tag_says_what_was_done(alice, organization, three, client_of, tag, words):
    naming.tag(organization, job_ids=[job.pk for job in three[:2]], name="legal")
    client = client_of(alice)
    assert do(client, three, "untag", tag=tag).status_code == 302
    assert words in page_text(client, "/transcripts/")


def test_archive_has_each_transcript_under_its_name(alice, organization, three, job, client_of):
    batch = make_batch(organization, 2)
    naming.rename(three[0], name="Board meeting.m4a")
    answer = do(client_of(alice), [three[0], three[1], job, batch], "download", format="txt")
    assert answer["Content-Disposition"] == 'attachment; filename="transcripts-txt.zip"'
    archive = zipfile.ZipFile(io.BytesIO(content_of(answer)))
    assert archive.namelist() == ["Board meeting.txt", "sentence-slt.txt", "not transcribed.txt"]
    assert "talk 0" in archive.read("Board meeting.txt").decode()
    assert archive.read("not transcribed.txt").decode().count("Queued") == 3


def test_file_of_an_archive_is_in_no_folder_and_keeps_its_dots(alice, three, client_of):
    for one, name in zip(three, ("12.05.2026 Board", "..\\..\\x", "a/\u202eb"), strict=True):
        naming.rename(one, name=name)
    answer = do(client_of(alice), three, "download", format="txt")
    names = zipfile.ZipFile(io.BytesIO(content_of(answer))).namelist()
    assert names == ["12.05.2026 Board.txt", ".. .. x.txt", "a b.txt"]


def test_name_given_before_names_were_cleaned_leads_out_of_no_folder(alice, three, client_of):
    Job.objects.filter(pk=three[0].pk).update(name="..\\..\\x\u202e")
    answer = do(client_of(alice), three[:1], "download", format="txt")
    assert zipfile.ZipFile(io.BytesIO(content_of(answer))).namelist() == [".. .. x.txt"]


def test_archive_counts_as_retrieval(alice, organization, client_of):
    job = complete(make_job(organization, retention=jobs.Retention(after_retrieval=True)))
    assert content_of(do(client_of(alice), [job], "download", format="txt"))
    job.refresh_from_db()
    assert job.delete_at is not None


def test_archive_that_breaks_off_is_no_retrieval(alice, organization, client_of):
    job = complete(make_job(organization, retention=jobs.Retention(after_retrieval=True)))
    assert cut(do(client_of(alice), [job], "download", format="txt"))
    job.refresh_from_db()
    assert job.delete_at is None


@pytest.mark.parametrize(
    ("fields", "words"), [({"format": "exe"}, "Choose a format."), ({"format": "txt"}, "None of these transcripts")]
)
def test_archive_that_cannot_be_made_says_why(alice, job, client_of, fields, words):
    client = client_of(alice)
    assert do(client, [job], "download", **fields).status_code == 302
    assert words in page_text(client, "/transcripts/")


def test_ids_that_are_none_and_unknown_acts_do_nothing(alice, three, client_of):
    client = client_of(alice)
    client.post(ADDRESS, {"job": ["nonsense", ""], "act": "delete"})
    do(client, three, "explode")
    assert Job.objects.count() == 3


@pytest.mark.parametrize("act", ["delete", "tag", "untag", "download"])
def test_stranger_reaches_none_of_them(organization, three, charlie, client_of, act):
    naming.tag(organization, job_ids=[three[0].pk], name="legal")
    answer = do(client_of(charlie), three, act, tag="legal", format="txt")
    assert answer.status_code == 302
    assert Job.objects.count() == 3
    assert list(three[0].tags.values_list("name", flat=True)) == ["legal"]
    assert not three[1].tags.exists()


def test_way_back_leads_to_the_list_whatever_the_form_says(alice, three, organization, client_of):
    for back in ("//evil.example/", "\r\nX-Evil: 1", "a=1#//evil.example"):
        answer = do(client_of(alice), three, "explode", back=back)
        assert answer["Location"].startswith(f"/o/{organization.pk}/transcripts/?")
        assert "\n" not in answer["Location"]


def test_page_offers_what_can_be_done_and_names_the_boxes(alice, three, client_of):
    Job.objects.filter(pk=three[0].pk).update(name='"quoted" & <b>')
    page = page_text(client_of(alice), "/transcripts/?q=talk")
    assert page.count('form="selected"') == 3
    assert f'aria-label="Select {escape(chr(34) + "quoted" + chr(34) + " & <b>")}"' in page
    assert 'name="back" value="q=talk"' in page
