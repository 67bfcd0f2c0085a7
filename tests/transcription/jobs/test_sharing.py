"""Links to a transcript: found by their token alone, and ended by whatever ends the transcript."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import AuditEntry, Organization
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.jobs import sharing
from transcription.models import Job, ShareLink

NOW = timezone.now()


def ended(job):
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(f"words {item.position}"))
    job.refresh_from_db()
    return job


@pytest.fixture
def item(organization):
    return ended(make_job(organization)).items.get()


def share(item, *, days=7, has_audio=False, by=None, now=NOW):
    return jobs.share(item, days=days, has_audio=has_audio, by=by, now=now)


def is_open(token, *, now=NOW):
    try:
        jobs.shared_by(token, now=now)
    except NotFound:
        return False
    return True


def test_link_opens_its_item_and_only_a_hash_is_stored(item, alice):
    link, token = share(item, has_audio=True, by=alice)
    found = jobs.shared_by(token, now=NOW)
    assert (found.pk, found.item_id, found.has_audio, found.created_by) == (link.pk, item.pk, True, alice)
    stored = [str(value) for value in ShareLink.objects.values().get().values()]
    assert not any(token in value for value in stored)
    assert len(token) >= 43


def test_links_of_a_batch_open_one_recording_each(organization):
    first, second = ended(make_batch(organization, 2)).items.all()
    tokens = [share(one)[1] for one in (first, second)]
    assert [jobs.shared_by(token, now=NOW).item_id for token in tokens] == [first.pk, second.pk]


@pytest.mark.parametrize("token", ["", "x", "\x00", "\ud800", "é" * 9000])
def test_unknown_tokens_open_nothing(item, token):
    _, known = share(item)
    assert not is_open(token)
    assert not is_open(known[:-1])
    assert not is_open(known.swapcase())
    assert not is_open(ShareLink.objects.get().token_sha256)


@pytest.mark.parametrize("days", sharing.LIFETIMES_DAYS)
def test_link_ends_to_the_second(item, days):
    _, token = share(item, days=days)
    end = NOW + timedelta(days=days)
    assert is_open(token, now=end - timedelta(seconds=1))
    assert not is_open(token, now=end)


@pytest.mark.parametrize("days", [0, -1, 2, 31, 10_000])
def test_other_lifetimes_are_refused(item, days):
    with pytest.raises(InvalidField):
        share(item, days=days)


def test_revoked_link_opens_nothing_and_the_other_still_does(item):
    link, token = share(item)
    _, other = share(item)
    assert jobs.revoke_link(item, link_id=link.pk)
    assert not jobs.revoke_link(item, link_id=link.pk)
    assert (is_open(token), is_open(other)) == (False, True)


def test_link_of_another_item_is_not_revoked(organization, item):
    link, token = share(item)
    other = ended(make_job(organization)).items.get()
    assert not jobs.revoke_link(other, link_id=link.pk)
    assert not jobs.revoke_link(item, link_id=uuid.uuid4())
    assert is_open(token)


def test_links_end_with_the_job(item):
    _, token = share(item)
    jobs.delete(item.job)
    assert not is_open(token)
    assert not ShareLink.objects.exists()
    with pytest.raises(NotFound):
        share(item)


def test_links_end_with_the_retention_before_the_clock_deletes(item):
    _, token = share(item)
    Job.objects.update(delete_at=NOW + timedelta(hours=1))
    assert is_open(token)
    assert not is_open(token, now=NOW + timedelta(hours=1))


def test_links_end_when_the_organization_is_closed(item, organization):
    _, token = share(item)
    Organization.objects.filter(pk=organization.pk).update(closed_at=NOW, delete_at=NOW + timedelta(days=7))
    assert not is_open(token)
    Organization.objects.filter(pk=organization.pk).update(closed_at=None, delete_at=None)
    assert is_open(token), "it was restored"


def test_link_outlives_the_person_who_made_it(item, bob):
    _, token = share(item, by=bob)
    bob.delete()
    assert is_open(token)
    assert jobs.live_links(item, now=NOW)[0].created_by is None


def test_transcript_without_text_is_not_shared(organization):
    with pytest.raises(NotFound):
        share(make_job(organization).items.get())


def test_links_are_few_and_old_ones_make_room(item):
    share(item, days=1)
    for _ in range(sharing.MAX_LINKS - 1):
        share(item, days=30)
    with pytest.raises(Conflict):
        share(item)
    later = NOW + timedelta(days=2)
    share(item, now=later)
    assert len(jobs.live_links(item, now=later)) == ShareLink.objects.count() == sharing.MAX_LINKS


def test_links_that_have_expired_are_deleted(item):
    share(item, days=1, now=NOW - timedelta(days=1))
    _, token = share(item, days=7, now=NOW)
    ShareLink.objects.create(
        item=item, token_sha256="0" * 64, has_audio=False, created_at=NOW - timedelta(days=2), expires_at=NOW
    )
    assert jobs.purge_links(now=NOW) == ShareLink.objects.count() == 1
    assert is_open(token)
    assert jobs.purge_links(now=NOW) == 0


def test_log_of_acts_has_neither_the_name_of_the_recording_nor_the_token(item, alice):
    """Both live on their own: a transcript may be deleted long before what was written of it."""
    link, token = share(item, has_audio=True, by=alice)
    jobs.revoke_link(item, link_id=link.pk)
    written = AuditEntry.objects.filter(action__startswith="link.").order_by("pk")
    assert [(one.action, one.subject, one.job_id) for one in written] == [
        ("link.created", "for 7 days, with the recording", item.job_id),
        ("link.revoked", "", item.job_id),
    ]
    assert not any(secret in str(row) for row in written.values() for secret in (token, item.name))
