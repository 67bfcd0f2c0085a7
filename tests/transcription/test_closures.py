"""What a closed organization shows and runs no more. All together is in tests/accounts/test_closures.py."""

import time
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from accounts import closures as all_parts
from accounts.models import Membership, Organization
from tests.transcription.broken_rows import broken
from tests.transcription.factories import make_job, make_transcript
from transcription import closures, jobs
from transcription.dialects.transcribeapi import results
from transcription.models import Delivery, Job, Status
from transcription.webhooks.targets import Target


def test_signed_address_of_a_result_is_shut_and_opened(organization, alice):
    job = make_job(organization, dialect="transcribeapi")
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    job.refresh_from_db()
    shown = results.show_job(job, site_url="https://voxsite.example", now=timezone.now())
    address = urlsplit(shown["result_url"])._replace(scheme="", netloc="").geturl()
    assert Client().get(address).status_code == 200
    all_parts.close(Membership.objects.get(organization=organization, user=alice))
    assert Client().get(address).status_code == 404
    all_parts.open_again(organization.pk, by=alice)
    assert Client().get(address).status_code == 200


def test_webhook_of_a_job_is_not_written_down_for_a_closed_organization(organization):
    target = Target(url="https://example.com/", host="example.com:443", header_name="", header_value="")
    job = make_job(organization, webhook=target)
    now = timezone.now()
    Organization.objects.filter(pk=organization.pk).update(closed_at=now, delete_at=now)
    closures.end_work(organization, ends_at=time.monotonic() + 60)
    assert Job.objects.get(pk=job.pk).status == Status.CANCELED
    assert not Delivery.objects.exists()


def test_work_that_is_not_ended_in_time_is_ended_by_the_next_round(organization, charlies):
    made = [make_job(organization) for _ in range(3)]
    others = make_job(charlies)
    for count in (1, 2, 3):
        closures.end_work(organization, ends_at=time.monotonic())
        assert Job.objects.filter(status=Status.CANCELED).count() == count
    assert Job.objects.get(pk=others.pk).status == Status.QUEUED
    assert len(made) == 3


@pytest.mark.django_db(transaction=True)
def test_job_that_cannot_be_canceled_keeps_no_other_one_and_no_other_part(organization, alice, caplog):
    stuck, whole = sorted((make_job(organization) for _ in range(2)), key=lambda job: job.pk)
    Organization.objects.filter(pk=organization.pk).update(closed_at=timezone.now(), delete_at=timezone.now())
    with broken(stuck, act="UPDATE"):
        all_parts.end_work(organization)
    assert f"The work of the closed organization {organization.pk} was not ended" in caplog.text
    assert {job.pk: job.status for job in Job.objects.all()} == {stuck.pk: Status.QUEUED, whole.pk: Status.CANCELED}
    all_parts.end_late_work(now=timezone.now())
    assert not Job.objects.exclude(status=Status.CANCELED).exists()
