"""Shared transcripts: a stranger reads what was shared, and learns nothing else."""

import re
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.gate import limits
from accounts.sent_forms import FIELD
from tests.transcription.factories import make_job
from tests.transcription.pages.conftest import complete, page_text
from transcription import jobs
from transcription.models import Job, ShareLink

SECRET = {"Cache-Control": "no-store, private", "Referrer-Policy": "no-referrer"}


def share(client, job, **chosen):
    """Make a link by the form, and return its path."""
    form = {FIELD: uuid.uuid4(), "days": "7", **chosen}
    page = client.post(f"/transcripts/{job.pk}/share/", form, follow=True).content.decode()
    (path,) = re.findall(r'id="share-link" readonly value="[^"]*?(/s/[\w-]+/)"', page)
    return path


def assert_secret(response):
    for name, value in SECRET.items():
        assert response.headers[name] == value
    assert "noindex" in response.headers["X-Robots-Tag"]


def test_stranger_without_an_account_reads_the_corrected_text(alice, job, client_of):
    complete(job, text="hello ana")
    item = job.items.get()
    jobs.revise(item, edits=[jobs.Edit(0, 0, "Hello <Anna>")], by=alice)
    jobs.name_speaker(item, speaker="S1", name="Dr. Grey")
    response = Client().get(share(client_of(alice), job))
    assert response.status_code == 200
    assert_secret(response)
    page = response.content.decode()
    for shown in ("Hello &lt;Anna&gt;", "Dr. Grey", "0:00", "sentence-slt.wav", 'content="noindex'):
        assert shown in page
    assert "ana" not in page.replace("Anna", "")


def test_shared_page_says_nothing_else_of_the_organization(alice, organization, job, client_of):
    complete(job)
    for chosen in ({}, {"has_audio": "on"}):
        path = share(client_of(alice), job, **chosen)
        # The person who made it sees the same as anybody.
        for client in (Client(), client_of(alice)):
            page = client.get(path).content.decode()
            for leaked in (organization.name, alice.email, job.pk, organization.pk, job.items.get().pk, "$0", "/o/"):
                assert str(leaked) not in page, leaked


def test_audio_is_heard_only_if_it_was_shared_also_in_parts(alice, job, client_of):
    complete(job)
    silent, loud = share(client_of(alice), job), share(client_of(alice), job, has_audio="on")
    assert "<audio" not in Client().get(silent).content.decode()
    assert f'src="{loud}audio/"' in Client().get(loud).content.decode()
    refused = Client().get(f"{silent}audio/")
    assert refused.status_code == 404
    assert_secret(refused)
    part = Client().get(f"{loud}audio/", headers={"Range": "bytes=0-3"})
    assert (part.status_code, len(part.content)) == (206, 4)
    assert_secret(part)
    assert part.content == client_of(alice).get(f"/transcripts/{job.pk}/audio/", headers={"Range": "bytes=0-3"}).content


def test_token_opens_no_other_transcript_whatever_the_query_says(alice, organization, job, client_of):
    complete(job, text="mine")
    other = complete(make_job(organization), text="theirs")
    path = share(client_of(alice), job, has_audio="on")
    share(client_of(alice), other, has_audio="on")
    for query in ({"item": "2"}, {"job": other.pk}, {"job_id": other.pk, "item": other.items.get().pk}):
        page = Client().get(path, query).content.decode()
        assert "mine" in page
        assert "theirs" not in page
    for end in (f"audio/{other.pk}/", f"../{other.pk}/", f"audio/../../{other.pk}/audio/"):
        assert Client().get(f"{path}{end}").status_code == 404
    # Nor anything of the member's own pages.
    assert Client().get(f"/o/{organization.pk}/transcripts/{job.pk}/audio/").status_code == 302


def test_unknown_revoked_and_expired_links_look_alike(alice, job, client_of):
    complete(job)
    revoked, expired, deleted = (share(client_of(alice), job, has_audio="on") for _ in range(3))
    links = list(ShareLink.objects.order_by("created_at"))
    page = client_of(alice).post(f"/transcripts/{job.pk}/share/{links[0].pk}/revoke/", follow=True).content.decode()
    assert "Link revoked" in page
    past = timezone.now() - timedelta(days=30)
    ShareLink.objects.filter(pk=links[1].pk).update(created_at=past, expires_at=past + timedelta(days=7))
    Job.objects.filter(pk=job.pk).update(delete_at=timezone.now())
    answers = [
        Client().get(f"{path}{end}") for path in (revoked, expired, deleted, "/s/unknown/") for end in ("", "audio/")
    ]
    assert {one.status_code for one in answers} == {404}
    assert len({re.sub(r'nonce="[^"]*"', "", one.content.decode()) for one in answers}) == 1
    for one in answers:
        assert_secret(one)


def test_members_see_links_and_who_made_them_and_the_link_only_once(alice, bob, job, client_of):
    complete(job)
    path = share(client_of(alice), job, has_audio="on")
    page = page_text(client_of(bob), f"/transcripts/{job.pk}/")
    assert alice.email in page
    assert "with the recording" in page
    assert path not in page
    assert path not in page_text(client_of(alice), f"/transcripts/{job.pk}/")


def test_form_that_is_sent_twice_makes_one_link(alice, job, client_of):
    complete(job)
    client, form = client_of(alice), {FIELD: uuid.uuid4(), "days": "1"}
    for _ in range(2):
        assert client.post(f"/transcripts/{job.pk}/share/", form).status_code == 302
    assert ShareLink.objects.count() == 1


@pytest.mark.parametrize("days", ["", "2", "3650", "x"])
def test_other_lifetimes_make_no_link(alice, job, client_of, days):
    complete(job)
    page = client_of(alice).post(f"/transcripts/{job.pk}/share/", {FIELD: uuid.uuid4(), "days": days}, follow=True)
    assert "Choose for how long" in page.content.decode()
    assert not ShareLink.objects.exists()


def test_stranger_can_neither_share_nor_revoke(alice, charlie, job, client_of):
    complete(job)
    path = share(client_of(alice), job)
    link = ShareLink.objects.get()
    for address in (f"/transcripts/{job.pk}/share/", f"/transcripts/{job.pk}/share/{link.pk}/revoke/"):
        assert client_of(charlie).post(address, {"days": "1"}).status_code == 404
        assert Client().post(address, {"days": "1"}).status_code == 302
    assert Client().get(path).status_code == 200
    assert Client().post(path).status_code == 405


def test_looking_at_a_shared_transcript_is_no_retrieval(alice, job, client_of):
    Job.objects.update(deletes_after_retrieval=True)
    complete(job)
    path = share(client_of(alice), job, has_audio="on")
    assert Client().get(path).status_code == 200
    assert Client().get(f"{path}audio/", headers={"Range": "bytes=0-"}).status_code == 206
    job.refresh_from_db()
    assert job.delete_at is None


def test_guesses_are_limited_by_address(settings, db):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "shared": "3/hour"}
    limits._limit.cache_clear()
    try:
        answers = [Client().get(f"/s/guess{number}/", REMOTE_ADDR="203.0.113.9") for number in range(4)]
        assert [one.status_code for one in answers] == [404, 404, 404, 429]
        assert_secret(answers[-1])
        assert Client().get("/s/guess/", REMOTE_ADDR="203.0.113.10").status_code == 404
    finally:
        limits._limit.cache_clear()
