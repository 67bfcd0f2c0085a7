"""Mails about the end of jobs: who gets one, when, and what it says."""

import base64
import email
from datetime import timedelta
from email.policy import default

import pytest
from django.utils import timezone

from accounts import encryption
from accounts.models import Membership, ReadyMail, WaitingMail
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.models import Job


@pytest.fixture
def job(organization, alice):
    return make_job(organization, created_by=alice, dialect="pages")


def complete(job):
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript())


def fail(job):
    jobs.reject_item(jobs.claim(job.items.first().pk), error_type="not_audio", message="This is no audio.")


def waiting_mails():
    """Return (recipients, subject, text) of each mail that the clock will send."""
    found = []
    for row in WaitingMail.objects.order_by("pk"):
        message = email.message_from_bytes(base64.b64decode(encryption.decrypt(row.content)), policy=default)
        found.append((row.recipients, message["Subject"], message.get_body(("plain",)).get_content()))
    return found


def test_failure_is_told_with_its_reason_and_a_link(job, alice):
    fail(job)
    [(recipients, subject, text)] = waiting_mails()
    assert (recipients, subject) == ([alice.email], "Not transcribed: sentence-slt.wav")
    assert "This is no audio. Nothing was charged." in text
    assert f"/o/{job.organization_id}/transcripts/{job.pk}/" in text
    assert "/accounts/mails/" in text


def test_result_is_told_to_those_who_want_to_hear_of_each(job, alice):
    alice.ready_mail = ReadyMail.ALWAYS
    alice.save()
    complete(job)
    [(_, subject, text)] = waiting_mails()
    assert subject == "Ready: sentence-slt.wav"
    assert "The transcript of “sentence-slt.wav” is ready." in text


@pytest.mark.parametrize(("minutes", "count"), [(9, 0), (11, 1)])
def test_result_is_told_by_default_when_it_took_long(job, minutes, count):
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=minutes))
    complete(job)
    assert len(waiting_mails()) == count


def test_batch_is_one_mail_that_counts_what_failed(organization, alice):
    batch = make_batch(organization, 2)
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Job.objects.filter(pk=batch.pk).update(created_by=alice, dialect="pages", created_at=an_hour_ago)
    first, second = batch.items.all()
    jobs.reject_item(jobs.claim(first.pk), error_type="not_audio", message="This is no audio.")
    jobs.finish_item(jobs.claim(second.pk), transcript=make_transcript())
    [(_, _, text)] = waiting_mails()
    assert "1 of 2 transcripts of “" in text


def test_nobody_is_told_who_does_not_want_to_be(job, alice):
    alice.ready_mail, alice.has_failed_mail = ReadyMail.NEVER, False
    alice.save()
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(hours=1))
    fail(job)
    other = make_job(job.organization, created_by=alice, dialect="pages")
    Job.objects.filter(pk=other.pk).update(created_at=timezone.now() - timedelta(hours=1))
    complete(other)
    assert waiting_mails() == []


def test_person_who_has_left_is_not_told(job, organization, bob):
    Job.objects.filter(pk=job.pk).update(created_by=bob)
    Membership.objects.filter(user=bob).delete()
    fail(job)
    assert waiting_mails() == []


def test_jobs_of_programs_and_canceled_ones_send_nothing(organization, alice, job):
    fail(make_job(organization, created_by=alice))
    jobs.cancel(job)
    assert waiting_mails() == []


def test_name_with_a_line_break_is_one_subject(job):
    Job.objects.filter(pk=job.pk).update(name="talk\nBcc: eve@example.com")
    fail(job)
    [(recipients, subject, _)] = waiting_mails()
    assert subject == "Not transcribed: talk Bcc: eve@example.com"
    assert recipients == ["alice@example.com"]
