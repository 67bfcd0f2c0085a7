"""The list of transcripts: filters, pages, and how it follows what happens elsewhere."""

import re

from tests.transcription.factories import make_job
from tests.transcription.pages.conftest import complete, fail
from transcription import jobs


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
