"""The clock keeps all its duties, whatever one of them waits for."""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import ApiRequest
from apex import completions
from tests.transcription.factories import make_job, make_media
from transcription import jobs
from transcription.jobs import waiters
from transcription.models import Delivery, Job, JobItem, Media, ShareLink, SigningKey, Status
from transcription.recordings import incoming
from transcription.webhooks import endpoints, outbox
from voxsite.management.commands import clock

PATIENCE_SECONDS = 30


@contextmanager
def running(*duties: Callable[[], None]) -> Iterator[threading.Thread]:
    """A clock with these duties, each as often as it can."""
    stopped = threading.Event()
    thread = threading.Thread(target=clock.run, args=([(0.0, duty) for duty in duties],), kwargs={"stopped": stopped})
    thread.start()
    try:
        yield thread
    finally:
        stopped.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_duty_that_waits_for_stripe_delays_no_other() -> None:
    stripe_answers, begun, rounds = threading.Event(), threading.Event(), threading.Semaphore(0)

    def silent() -> None:
        begun.set()
        stripe_answers.wait(PATIENCE_SECONDS)

    def reconcile() -> None:
        rounds.release()

    with running(silent, reconcile):
        assert begun.wait(PATIENCE_SECONDS)
        # Three, because one may have come before.
        assert all(rounds.acquire(timeout=PATIENCE_SECONDS / 5) for _ in range(3))
        stripe_answers.set()


@pytest.mark.long
def test_clock_ends_though_a_duty_does_not() -> None:
    never, begun = threading.Event(), threading.Event()

    def silent() -> None:
        begun.set()
        never.wait()

    with running(silent):
        assert begun.wait(PATIENCE_SECONDS)
    never.set()


def test_duty_that_fails_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    rounds = threading.Semaphore(0)

    def broken() -> None:
        rounds.release()
        raise RuntimeError("The database restarts.")

    with running(broken):
        assert all(rounds.acquire(timeout=PATIENCE_SECONDS) for _ in range(3))
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@pytest.mark.django_db
def test_completions_are_not_swept_before_the_living_could_give_a_sign(monkeypatch, settings) -> None:
    now, swept = [1000.0], []
    monkeypatch.setattr(completions, "sweep", lambda: swept.append(now[0]))
    sweep = clock.CompletionSweep(seconds=lambda: now[0])
    for moment in (1000.0, 1000.0 + settings.APEX_SILENT_SECONDS - 1):
        now[0] = moment
        sweep()
    assert swept == []
    now[0] += 1
    sweep()
    assert len(swept) == 1

    def away() -> None:
        raise OperationalError

    monkeypatch.setattr(completions, "sweep", away)
    with pytest.raises(OperationalError):
        sweep()
    monkeypatch.setattr(completions, "sweep", lambda: swept.append(now[0]))
    sweep()
    assert len(swept) == 1, "the database was away, so no process could write a heartbeat"


@pytest.mark.django_db
def test_work_is_not_taken_back_before_the_living_could_give_a_sign(monkeypatch, settings, organization) -> None:
    now = [1000.0]
    duty = clock.Reconciliation(seconds=lambda: now[0])
    item = jobs.claim(make_job(organization).items.get().pk)
    real = jobs.reconcile

    def away(**fields: object) -> None:
        raise OperationalError

    monkeypatch.setattr(jobs, "reconcile", away)
    with pytest.raises(OperationalError):
        duty()
    monkeypatch.setattr(jobs, "reconcile", real)
    # The database was away for half a minute. It is back, and the worker's next heartbeat is still to come.
    JobItem.objects.update(touched_at=timezone.now() - timedelta(seconds=30))
    for seconds in (0, settings.SILENT_WORKER_SECONDS - 1):
        now[0] = 1030.0 + seconds
        duty()
        assert JobItem.objects.get(pk=item.pk).status == Status.PROCESSING
    now[0] += 1
    duty()
    assert JobItem.objects.get(pk=item.pk).status == Status.QUEUED


@pytest.mark.django_db
def test_files_without_a_job_are_purged_by_a_duty(organization) -> None:
    media = make_media(organization)
    Media.objects.update(orderable_until=timezone.now() - timedelta(seconds=1))
    assert clock.purge_orderable in dict.fromkeys(duty for _, duty in clock.DUTIES)
    clock.purge_orderable()
    assert not Media.objects.filter(pk=media.pk).exists()


@pytest.mark.django_db
def test_bytes_that_a_killed_process_was_receiving_are_purged_by_a_duty(settings, tmp_path) -> None:
    settings.INCOMING_DIR = tmp_path
    file = incoming.whole(uuid.uuid4())
    file.write([b"cut off"])
    old = time.time() - 25 * 3600
    for path in (file.path, file.path.parent):
        os.utime(path, (old, old))
    assert clock.purge_incoming in dict.fromkeys(duty for _, duty in clock.DUTIES)
    clock.purge_incoming()
    assert list(tmp_path.iterdir()) == []
    file.close()


def test_stray_file_that_cannot_be_removed_keeps_no_other(monkeypatch, tmp_path, caplog) -> None:
    folder, file = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    file.touch()
    monkeypatch.setattr(clock.recordings, "stray_files", lambda **_: [folder, file])
    clock.purge_stray_files()
    assert list(tmp_path.iterdir()) == [folder]
    assert "A stray file could not be removed" in caplog.text


@pytest.mark.django_db
def test_keys_and_log_of_webhooks_are_looked_after_by_duties(organization, settings) -> None:
    duties = dict.fromkeys(duty for _, duty in clock.DUTIES)
    assert clock.rotate_webhook_keys in duties
    clock.rotate_webhook_keys()
    assert SigningKey.objects.count() == 1
    outbox.test(endpoints.register(organization, url="https://example.com/", events=["job.failed"]))
    old = timezone.now() - timedelta(days=settings.WEBHOOK_LOG_DAYS + 1)
    Delivery.objects.update(state="failed", next_attempt_at=None, created_at=old)
    assert clock.sweep_webhooks in duties
    clock.sweep_webhooks()
    assert not Delivery.objects.exists()


@pytest.mark.django_db
def test_jobs_that_are_due_are_purged_by_a_duty(organization) -> None:
    job = make_job(organization, retention=jobs.Retention(days=1))
    jobs.cancel(job)
    Job.objects.update(delete_at=timezone.now() - timedelta(seconds=1))
    assert clock.purge_jobs in dict.fromkeys(duty for _, duty in clock.DUTIES)
    clock.purge_jobs()
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_jobs_that_nobody_waits_for_are_canceled_by_a_duty(organization, settings) -> None:
    settings.DISCONNECT_GRACE_SECONDS = 0
    job = make_job(organization)
    waiters.leave(job.pk, name=waiters.join(job.pk))
    assert clock.cancel_abandoned in dict.fromkeys(duty for _, duty in clock.DUTIES)
    clock.cancel_abandoned()
    assert Job.objects.get().status == Status.CANCELED


def test_expired_share_links_are_deleted_by_a_duty(organization) -> None:
    item = make_job(organization).items.get()
    now = timezone.now()
    ShareLink.objects.create(
        item=item, token_sha256="0" * 64, has_audio=False, created_at=now - timedelta(days=2), expires_at=now
    )
    assert clock.purge_share_links in dict.fromkeys(duty for _, duty in clock.DUTIES)
    clock.purge_share_links()
    assert not ShareLink.objects.exists()


@pytest.mark.django_db
def test_old_requests_are_purged_by_a_duty(organization) -> None:
    ApiRequest.objects.create(
        organization=organization,
        created_at=timezone.now() - timedelta(days=31),
        key_id=uuid.uuid4(),
        method="GET",
        path="/v1/jobs",
        status=200,
        request_id="req_1",
        duration_ms=1,
    )
    assert clock.purge_request_log in dict.fromkeys(duty for _, duty in clock.DUTIES)
    clock.purge_request_log()
    assert not ApiRequest.objects.exists()
