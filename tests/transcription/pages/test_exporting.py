"""The download of everything: who gets it, and how."""

import io
import zipfile

from asgiref.sync import async_to_sync
from django.test import Client

from tests.transcription.pages.conftest import complete
from tests.transcription.pages.test_selected import content_of


def test_admin_gets_everything_as_one_file(alice, job, client_of):
    complete(job, "good morning")
    response = client_of(alice).post("/transcripts/export/")
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith('attachment; filename="voxsite-20')
    with zipfile.ZipFile(io.BytesIO(content_of(response))) as archive:
        assert "good morning" in archive.read("sentence-slt.txt").decode()


def test_members_and_strangers_and_visitors_get_nothing(bob, charlie, job, organization, client_of):
    complete(job)
    assert client_of(bob).post("/transcripts/export/").status_code == 403
    assert client_of(charlie).post(f"/o/{organization.pk}/transcripts/export/").status_code == 404
    assert Client().post(f"/o/{organization.pk}/transcripts/export/").status_code == 302


def test_page_of_members_offers_it_to_admins_alone(alice, bob, organization, client_of):
    address = f'action="/o/{organization.pk}/transcripts/export/"'
    assert address in client_of(alice).get("/organization/").content.decode()
    assert address not in client_of(bob).get("/organization/").content.decode()


def test_one_download_of_an_organization_runs_at_a_time(alice, charlie, job, client_of):
    complete(job)
    running = client_of(alice).post("/transcripts/export/")
    refused = client_of(alice).post("/transcripts/export/")
    assert refused.status_code == 409
    assert "downloading everything already" in refused.content.decode()
    assert content_of(client_of(charlie).post("/transcripts/export/"))
    assert content_of(running)
    assert content_of(client_of(alice).post("/transcripts/export/"))


def test_download_that_broke_is_in_the_way_of_no_other(alice, job, client_of):
    complete(job)
    broken = client_of(alice).post("/transcripts/export/")

    async def read_one():
        parts = broken.streaming_content
        assert await anext(parts)
        await parts.aclose()

    async_to_sync(read_one)()
    assert content_of(client_of(alice).post("/transcripts/export/"))
