"""The list of transcripts: filters, pages, and how it follows what happens elsewhere."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.transcription.factories import make_job
from tests.transcription.pages.conftest import complete, fail
from transcription import jobs
from transcription.jobs import naming


def polled(client, page: str) -> str:
    """Return the answer to what a page, or an answer, asks for next."""
    address = re.search(r'id="live" hx-get="([^"]+)"', page).group(1).replace("&amp;", "&")
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_list_filters_by_state(alice, organization, job, client_of):
    done, failed = complete(make_job(organization)), fail(make_job(organization))
    client = client_of(alice)

    def shown(status):
        return set(client.get("/transcripts/", {"status": status}).context["jobs"])

    assert shown("running") == {job}
    assert shown("completed") == {done}
    assert shown("failed") == {failed}
    assert shown("canceled") == set()
    assert shown("nonsense") == {job, done, failed}


def test_list_pages_are_stable_while_jobs_come_in(alice, organization, client_of):
    old = {make_job(organization, duration_ms=1000).pk for _ in range(27)}
    client = client_of(alice)
    first = client.get("/transcripts/")
    make_job(organization, duration_ms=1000)
    second = client.get("/transcripts/", {"before": first.context["next_cursor"]})
    seen = [job.pk for job in (*first.context["jobs"], *second.context["jobs"])]
    assert len(seen) == 27
    assert set(seen) == old
    assert client.get("/transcripts/", {"before": "nonsense"}).status_code == 200


def test_only_unfinished_rows_are_asked_about(alice, organization, job, client_of):
    complete(make_job(organization))
    client = client_of(alice)
    page = client.get("/transcripts/")
    assert page.context["live"] == [job]
    complete(job)
    rows = client.get("/transcripts/live/", [("id", str(job.pk)), ("id", "nonsense")]).content.decode()
    assert f'id="job-{job.pk}" hx-swap-oob="true"' in rows
    assert "Completed" in rows
    assert "hx-get" not in rows, "the list asks no more if its first page does not"


def test_strangers_jobs_are_neither_listed_nor_polled(job, charlie, client_of):
    client = client_of(charlie)
    assert list(client.get("/transcripts/").context["jobs"]) == []
    assert list(client.get("/transcripts/live/", {"id": job.pk}).context["jobs"]) == []
    assert client.get("/transcripts/", {"before": job.pk}).status_code == 200


def test_job_that_was_made_elsewhere_appears(alice, organization, job, client_of):
    client = client_of(alice)
    page = client.get("/transcripts/").content.decode()
    assert 'id="jobs"' not in polled(client, page), "nothing is new, so nothing is replaced"
    other = make_job(organization)
    whole = polled(client, page)
    assert whole.strip().startswith('<div class="stack" id="jobs">')
    assert f'id="job-{other.pk}"' in whole
    assert f'id="job-{job.pk}"' in whole
    assert 'id="jobs"' not in polled(client, whole)


def test_first_job_replaces_the_empty_list(alice, organization, client_of):
    client = client_of(alice)
    pages = [client.get(path).content.decode() for path in ("/transcripts/", "/overview/")]
    job = make_job(organization)
    for page in pages:
        whole = polled(client, page)
        assert f'id="job-{job.pk}"' in whole
        assert "Upload a recording" not in whole


def test_whole_list_is_put_in_the_place_of_the_old_one(alice, organization, client_of):
    response = client_of(alice).get("/transcripts/live/?newest=another")
    assert (response["HX-Retarget"], response["HX-Reswap"]) == ("#jobs", "outerHTML")


def test_overview_goes_on_with_five(alice, organization, client_of):
    client = client_of(alice)
    page = client.get("/overview/").content.decode()
    for _ in range(7):
        make_job(organization, duration_ms=1000)
    whole = polled(client, page)
    assert whole.count('id="job-') == 5
    assert "Older" not in whole


def test_filtered_list_shows_new_jobs_with_its_status_only(alice, organization, job, client_of):
    client = client_of(alice)
    page = client.get("/transcripts/", {"status": "completed"}).content.decode()
    assert 'id="jobs"' not in polled(client, page)
    complete(job)
    assert f'id="job-{job.pk}"' in polled(client, page)


def test_deleted_newest_job_leaves_the_list(alice, organization, job, client_of):
    client = client_of(alice)
    page = client.get("/transcripts/").content.decode()
    jobs.delete(job)
    assert "No transcripts yet" in polled(client, page)


def test_later_pages_ask_for_their_own_rows_only(alice, organization, client_of):
    client = client_of(alice)
    for _ in range(26):
        complete(make_job(organization, duration_ms=1000))
    first = client.get("/transcripts/")
    second = client.get("/transcripts/", {"before": first.context["next_cursor"]}).content.decode()
    assert "hx-get" not in second.split('id="live"')[1].split(">")[0]


def test_stranger_is_told_of_no_new_job(job, charlie, client_of):
    client = client_of(charlie)
    page = client.get("/transcripts/").content.decode()
    assert str(job.pk) not in polled(client, page)
    assert str(job.pk) not in client.get("/transcripts/live/?newest=none&overview=1").content.decode()


def finish(organization, text, *, name="talk.wav"):
    job = complete(make_job(organization), text)
    naming.rename(job, name=name)
    return job


def test_search_shows_where_the_words_were_said_and_leads_there(alice, organization, client_of):
    job = finish(organization, "please send the late invoice on Tuesday")
    finish(organization, "good morning")
    client = client_of(alice)
    page = client.get("/transcripts/", {"q": 'invoice "on tuesday"'})
    text = page.content.decode()
    assert page.context["jobs"] == [job]
    assert "late <mark>invoice</mark> <mark>on tuesday</mark>" in text
    address = re.search(r'class="excerpt[^"]*" href="([^"]+)"', text).group(1).replace("&amp;", "&")
    transcript = client.get(address.partition("#")[0])
    assert address.endswith("#found-1")
    assert 'id="found-1" data-found="21,28 29,39"' in transcript.content.decode()
    assert transcript.context["found_count"] == 2


def test_search_that_finds_nothing_or_is_not_valid_says_so(alice, organization, client_of):
    finish(organization, "good morning")
    client = client_of(alice)
    for query, words in [
        ({"q": "invoice"}, "No transcripts match"),
        ({"q": "…"}, "Enter a word or a number"),
        ({"q": "a " * 11}, "Enter up to 10 words"),
        ({"since": "2026-05-02", "until": "2026-05-01"}, "This is before the first day"),
        ({"since": "nonsense"}, "Enter a valid date"),
        ({"person": "999999"}, "Select a valid choice"),
    ]:
        page = client.get("/transcripts/", query)
        assert words in page.content.decode(), query
        assert page.context["jobs"] == []
        assert client.get("/transcripts/live/", query).status_code == 200


def test_name_is_marked_and_what_people_type_is_no_markup(alice, organization, client_of):
    finish(organization, "good morning", name="<b>late invoice</b>.mp3")
    text = client_of(alice).get("/transcripts/", {"q": "invoice <b>"}).content.decode()
    assert "&lt;<mark>b</mark>&gt;late <mark>invoice</mark>&lt; <mark>b</mark>&gt;.mp3" in text
    assert 'value="invoice &lt;b&gt;"' in text


@pytest.mark.long
def test_filters_stay_on_the_next_page_and_under_the_tabs(alice, organization, client_of):
    for number in range(27):
        finish(organization, "good morning", name=f"talk {number:02}")
    client = client_of(alice)
    first = client.get("/transcripts/", {"q": "morning", "sort": "name", "status": "completed"})
    assert [job.name for job in first.context["jobs"]] == [f"talk {number:02}" for number in range(25)]
    text = first.content.decode().replace("&amp;", "&")
    assert "?q=morning&sort=name&status=failed" in text
    more = re.search(r'href="([^"]+before=[^"]+)"', text).group(1)
    second = client.get(more)
    assert [job.name for job in second.context["jobs"]] == ["talk 25", "talk 26"]
    assert "hx-get" not in text.split('id="live"')[1].split(">")[0], "a search is not repeated by itself"


def test_running_rows_of_a_search_stay_live(alice, organization, job, client_of):
    client = client_of(alice)
    page = client.get("/transcripts/", {"q": "slt"}).content.decode()
    complete(job, "the slt voice")
    rows = polled(client, page)
    assert "the <mark>slt</mark> voice" in rows


@pytest.mark.long
def test_list_with_every_filter_asks_few_queries(alice, organization, client_of):
    for _ in range(30):
        finish(organization, "good morning")
    client = client_of(alice)
    client.get("/transcripts/")
    query = {"q": "good morning", "since": "2026-01-01", "person": alice.pk, "language": "en", "sort": "longest"}
    for chosen in ({}, {"q": "good morning"}, query):
        with CaptureQueriesContext(connection) as queries:
            client.get("/transcripts/", chosen)
        # Marks of transactions within the test's are no questions.
        asked = [one["sql"] for one in queries if "SAVEPOINT" not in one["sql"]]
        assert len(asked) <= 12, "\n".join(asked)
