"""The importer turns a URL into a queued job. It ends once, whichever process dies, and what cannot be had is free."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import django_rq
import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.utils import timezone

from accounts import tracing
from accounts.errors import InvalidField, PaymentRequired
from accounts.models import Organization
from billing import statements
from billing.models import Entry, Hold, Wallet
from tests.fixtures import recordings as samples
from tests.transcription import remote
from tests.transcription.factories import make_submission, make_transcript
from transcription import jobs, submissions
from transcription.jobs import importing, queue
from transcription.models import Import, Job, Media, Priority, Status, Upload, UploadState
from transcription.recordings import imports

# Downloads run in threads, which must see what was written.
pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]
SENTENCE = samples.named("sentence-slt.wav")
NO_PAUSES = (0.0,) * 5


@pytest.fixture
def server(settings):
    with remote.running(SENTENCE.path.read_bytes()) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


@pytest.fixture(autouse=True)
def empty_queues():
    for name in ("imports", "standard", "interactive"):
        django_rq.get_queue(name).empty()


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def submit(organization, url, **fields):
    return submissions.submit_url(make_submission(organization, **fields), url=url)


def fetch_all():
    importing.fetch_all(pauses=NO_PAUSES)


def fetching_a_slow_file(organization, server, *, now):
    """Return a job whose file has come by half, and the thread that fetches. now: a list with its clock's seconds."""

    def fetch():
        try:
            importing.fetch_all(pauses=NO_PAUSES, clock=lambda: now[0])
        finally:
            connection.close()

    slow = submit(organization, server.url("/half"))
    thread = threading.Thread(target=fetch)
    thread.start()
    server.wait_for_requests(1)
    return slow, thread


def verify(job):
    for item in job.items.all():
        jobs.verify_item(item.pk)
    job.refresh_from_db()


def refusal_of(job):
    job.refresh_from_db()
    return job.status, job.error_type


def test_job_of_a_url_becomes_one_of_a_recording(organization, server):
    job = submit(organization, server.url("/talk.mp3"))
    assert (job.status, job.name, job.quoted_micros) == (Status.UPLOADING, "talk.mp3", None)
    assert django_rq.get_queue("imports").count == 1
    fetch_all()
    job.refresh_from_db()
    assert job.status == Status.VERIFYING
    verify(job)
    assert (job.status, job.duration_ms) == (Status.QUEUED, SENTENCE.duration_ms)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript(duration_ms=SENTENCE.duration_ms))
    job.refresh_from_db()
    assert (job.status, job.cost_micros) == (Status.COMPLETED, job.quoted_micros)
    assert Entry.objects.filter(reference=job.hold_reference).count() == 1


def test_many_are_fetched_at_once(organization, server):
    """The first ones end only when the last one has begun."""
    found = [submit(organization, server.url("/half")) for _ in range(imports.MAX_RUNNING_EACH[1])]
    all_asked = threading.Thread(target=lambda: (server.wait_for_requests(len(found)), server.goes_on.set()))
    all_asked.start()
    fetch_all()
    all_asked.join()
    for job in found:
        job.refresh_from_db()
    assert {job.status for job in found} == {Status.VERIFYING}


@pytest.mark.parametrize(
    ("path", "error_type"),
    [
        ("/status?code=404", "url_not_found"),
        ("/status?code=403", "url_refused"),
        ("/status?code=500", "url_unreachable"),
        ("/huge", "url_too_large"),
        ("/redirect?to=http://10.0.0.1/", "url_not_allowed"),
    ],
)
def test_what_cannot_be_had_fails_the_job_and_costs_nothing(organization, server, path, error_type):
    job = submit(organization, server.url(path))
    fetch_all()
    assert refusal_of(job) == (Status.FAILED, error_type)
    assert not Hold.objects.exists()
    assert statements.balance(organization).held_micros == 0
    assert not Import.objects.exists()


class Tracer:
    """Remembers spans with why they failed. All requests are part of one trace."""

    def __init__(self):
        self.spans = []

    @contextmanager
    def span(self, name, *, kind, parent, is_current, attributes):
        span = _Span(name, kind, parent, dict(attributes))
        self.spans.append(span)
        yield span

    def context(self):
        return "00-a-b-01"


@dataclass
class _Span:
    name: str
    kind: str
    parent: str
    attributes: dict[str, object]
    failure: str = ""

    def fail(self, reason):
        self.failure = reason


def test_each_attempt_is_a_span_of_the_trace_of_its_job(organization, server):
    tracing.install(tracer := Tracer())
    try:
        submit(organization, server.url("/talk.mp3"))
        submit(organization, server.url("/status?code=404"))
        fetch_all()
    finally:
        tracing.install(None)
    imported = sorted((span for span in tracer.spans if span.name == "import"), key=lambda span: span.failure)
    assert imported == [
        _Span("import", "client", "00-a-b-01", {"attempt": 1}),
        _Span("import", "client", "00-a-b-01", {"attempt": 1}, failure="url_not_found"),
    ]


def test_file_that_is_too_slow_fails_the_job(organization, server, settings):
    settings.IMPORT_MAX_SECONDS = 0.3
    job = submit(organization, server.url("/silent"))
    fetch_all()
    assert refusal_of(job) == (Status.FAILED, "url_too_slow")


def test_file_that_the_disk_has_no_space_for_fails_the_job_and_leaves_nothing(organization, server, settings, tmp_path):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    settings.DISK_RESERVE_BYTES = 10**18
    job = submit(organization, server.url("/whole"))
    fetch_all()
    assert refusal_of(job) == (Status.FAILED, "no_room")
    assert "Try again later" in job.error_message
    assert list(tmp_path.iterdir()) == []
    assert not Import.objects.exists()
    assert not Hold.objects.exists()


def test_recording_of_a_job_that_lacked_money_is_kept_and_run_again_after_a_top_up(organization, server):
    """Its price is known only after the fetching. The URL may be gone by then, so it is not fetched again."""
    job = submit(organization, server.url("/whole"))
    fetch_all()
    Wallet.objects.update(balance_micros=1)
    verify(job)
    assert refusal_of(job) == (Status.FAILED, "insufficient_balance")
    (media,) = Media.objects.all()
    with pytest.raises(PaymentRequired):
        jobs.run_again(job)
    Wallet.objects.update(balance_micros=1_000_000)
    again = jobs.run_again(job)
    assert (again.status, again.items.get().media) == (Status.QUEUED, media)
    assert len(server.asked) == 1
    # Without that, it goes with the job.
    jobs.delete(again)
    assert default_storage.exists(media.storage_key)
    jobs.delete(job)
    assert not default_storage.exists(media.storage_key)


def test_page_is_no_recording_whatever_it_is_called(organization, server, settings):
    server.content = b"<!doctype html><title>Sign in</title>" * 100
    job = submit(organization, server.url("/talk.mp3"))
    fetch_all()
    verify(job)
    assert refusal_of(job) == (Status.FAILED, "not_audio")
    assert not Hold.objects.exists()
    assert not list(settings.MEDIA_ROOT.glob(f"media/{organization.pk}/*"))


def test_recording_is_found_out_by_its_bytes(organization, server):
    job = submit(organization, server.url("/page.html"))
    fetch_all()
    verify(job)
    assert job.status == Status.QUEUED


def test_nothing_is_fetched_without_money_or_from_a_private_address(organization):
    with pytest.raises(PaymentRequired):
        submit(Organization.objects.create(name="poor"), "https://example.com/a.mp3")
    with pytest.raises(InvalidField):
        submit(organization, "http://127.0.0.1/a.mp3")
    assert not Job.objects.exists()
    assert not Upload.objects.exists()


def test_job_that_fails_in_its_transaction_leaves_no_import(organization):
    def fail(job):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        submit(organization, "https://example.com/a.mp3", in_transaction=fail)
    assert not Upload.objects.exists()
    assert django_rq.get_queue("imports").count == 0


@pytest.mark.long
@pytest.mark.parametrize("end", [jobs.cancel, jobs.delete])
def test_download_of_a_canceled_job_stops(organization, server, end):
    job = submit(organization, server.url("/half"))

    def stop():
        try:
            server.wait_for_requests(1)
            end(job)
        finally:
            connection.close()

    stopping = threading.Thread(target=stop)
    stopping.start()
    fetch_all()
    stopping.join()
    # It was still waiting for the second half.
    assert not server.goes_on.is_set()
    assert not Import.objects.exists()
    assert not Media.objects.exists()
    assert not Hold.objects.exists()


def test_canceled_job_that_waits_is_not_fetched(organization, server):
    job = submit(organization, server.url("/talk.mp3"))
    jobs.cancel(job)
    fetch_all()
    assert not Import.objects.exists()
    assert Upload.objects.get().state == UploadState.EXPIRED


def test_import_of_a_dead_process_is_fetched_again_and_charged_once(organization, server):
    job = submit(organization, server.url("/talk.mp3"))
    dead = imports.claim_next()
    django_rq.get_queue("imports").empty()
    assert importing.reconcile(now=timezone.now()) == 0
    assert importing.reconcile(now=timezone.now() + timedelta(minutes=1)) == 1
    assert django_rq.get_queue("imports").count == 1
    fetch_all()
    with pytest.raises(imports.Lost):
        imports.fetch(dead)
    verify(job)
    verify(job)
    assert job.status == Status.QUEUED
    assert Hold.objects.count() == 1


def test_import_that_no_attempt_finishes_fails(organization, settings):
    job = submit(organization, "https://example.com/a.mp3")
    for _ in range(settings.JOB_ATTEMPTS):
        assert imports.claim_next()
        importing.reconcile(now=timezone.now() + timedelta(minutes=1))
    assert refusal_of(job) == (Status.FAILED, "worker_lost")
    assert not Import.objects.exists()


def test_fault_of_ours_is_tried_again_and_told_at_last(organization, server, settings):
    job = submit(organization, server.url("/talk.mp3"))
    location = settings.MEDIA_ROOT / "media"
    location.mkdir(parents=True, exist_ok=True)
    blocked = location / str(organization.pk)
    blocked.write_text("no folder")
    fetch_all()
    blocked.unlink()
    assert refusal_of(job) == (Status.FAILED, "internal_error")


def test_import_that_redis_lost_is_announced_again(organization, monkeypatch):
    submit(organization, "https://example.com/a.mp3")
    django_rq.get_queue("imports").empty()
    importing.reconcile(now=timezone.now() + timedelta(minutes=1))
    assert django_rq.get_queue("imports").count == 1
    # One task is enough.
    assert queue.enqueue_imports()
    assert django_rq.get_queue("imports").count == 1


@pytest.mark.parametrize("is_refused", [False, True])
def test_job_that_was_not_told_of_the_end_is_told_by_the_clock(organization, server, is_refused):
    job = submit(organization, server.url("/talk.mp3"))
    source = imports.claim_next()
    if is_refused:
        imports.refuse(source, error=InvalidField("url", "no"))
    else:
        imports.fetch(source)
    jobs.reconcile(now=timezone.now() + timedelta(minutes=1))
    job.refresh_from_db()
    assert job.status == (Status.FAILED if is_refused else Status.VERIFYING)


def test_import_that_waits_for_too_long_expires(organization):
    job = submit(organization, "https://example.com/a.mp3")
    later = timezone.now() + timedelta(days=8)
    jobs.fail_expired_uploads(now=later)
    importing.reconcile(now=later)
    assert refusal_of(job) == (Status.FAILED, "upload_expired")
    assert not Import.objects.exists()


def test_process_takes_nothing_new_after_its_time(organization, server):
    submit(organization, server.url("/talk.mp3"))
    django_rq.get_queue("imports").empty()
    importing.fetch_all(max_seconds=0)
    assert not server.asked
    assert django_rq.get_queue("imports").count == 1


def test_slow_file_holds_up_no_other_when_the_time_of_its_process_is_over(organization, server):
    """Nothing was fetched until the slow file had come, which may take an hour."""
    now = [0.0]
    slow, thread = fetching_a_slow_file(organization, server, now=now)
    now[0] = importing.MAX_SECONDS
    quick = submit(organization, server.url("/whole"))
    now[0] += importing.MAX_PAUSE_SECONDS
    wait_until(lambda: quick.items.get().status == Status.VERIFYING)
    assert slow.items.get().status == Status.UPLOADING
    # The next pause comes, and now the slow one ends in it.
    now[0] += importing.PAUSE_AGAIN_SECONDS
    waiting = submit(organization, server.url("/whole"))
    django_rq.get_queue("imports").empty()
    server.goes_on.set()
    thread.join(60)
    assert not thread.is_alive()
    assert [job.items.get().status for job in (slow, waiting)] == [Status.VERIFYING, Status.UPLOADING]
    assert django_rq.get_queue("imports").count == 1


@pytest.mark.long
def test_process_ends_before_rq_kills_it_however_slow_a_file_is(organization, server, settings):
    """It took more after each pause, for as long as anything still came: after a day RQ killed all downloads."""
    now = [0.0]
    last_claim_at = settings.RQ_TASK_SECONDS - settings.IMPORT_MAX_SECONDS - importing.SPARE_SECONDS
    slow, thread = fetching_a_slow_file(organization, server, now=now)
    # The last pause before the bound ends, and the next time is cut at the bound.
    now[0] = last_claim_at - 1
    before = submit(organization, server.url("/whole"))
    wait_until(lambda: before.items.get().status == Status.VERIFYING)
    now[0] = last_claim_at
    after = submit(organization, server.url("/whole"))
    django_rq.get_queue("imports").empty()
    for _ in range(5):
        now[0] += importing.PAUSE_AGAIN_SECONDS + importing.MAX_PAUSE_SECONDS
        time.sleep(2 * importing.LOOK_AGAIN_SECONDS)
    assert Import.objects.filter(upload__items__job=after, touched_at=None).exists()
    server.goes_on.set()
    thread.join(60)
    assert not thread.is_alive()
    assert [job.items.get().status for job in (slow, after)] == [Status.VERIFYING, Status.UPLOADING]
    assert django_rq.get_queue("imports").count == 1


def test_process_that_finds_all_places_of_an_organization_taken_does_not_start_over_at_once(organization):
    for _ in range(imports.MAX_RUNNING_EACH[1] + 1):
        submit(organization, "https://example.com/a.mp3")
    while imports.claim_next():
        pass  # for another process
    django_rq.get_queue("imports").empty()
    fetch_all()
    assert Import.objects.filter(touched_at=None).count() == 1
    assert django_rq.get_queue("imports").count == 0


def test_waiting_call_is_fetched_before_others(organization, server):
    submit(organization, server.url("/talk.mp3"))
    submit(organization, server.url("/whole"), priority=Priority.INTERACTIVE)
    assert imports.claim_next().url.endswith("/whole")


def test_file_of_a_batch_whose_turn_to_be_fetched_comes_after_a_day_is_fetched(organization, server):
    job = submit(organization, server.url("/whole"))
    unneeded = submit(organization, server.url("/whole"))
    later = imports.begin(organization, url=server.url("/whole"), is_for_later=True)
    jobs.cancel(unneeded)
    Upload.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert jobs.fail_expired_uploads(now=timezone.now()) == 0
    # Nobody can order the one any more, and nobody waits for the other.
    ended = Upload.objects.filter(state=UploadState.EXPIRED)
    assert set(ended) == {later, unneeded.items.get().upload}
    importing.reconcile(now=timezone.now())
    fetch_all()
    assert len(server.asked) == 1
    verify(job)
    assert (job.status, job.duration_ms) == (Status.QUEUED, SENTENCE.duration_ms)


def test_item_whose_import_is_lost_ends_with_the_time_of_its_upload(organization, server):
    job = submit(organization, server.url("/whole"))
    Import.objects.all().delete()
    Upload.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert jobs.fail_expired_uploads(now=timezone.now()) == 1
    assert refusal_of(job) == (Status.FAILED, "upload_expired")


def test_lost_attempt_that_fails_does_not_end_the_job_of_the_next_one(organization, server):
    job = submit(organization, server.url("/status?code=404"))
    lost = imports.claim_next()
    imports.give_back_silent(since=timezone.now() + timedelta(seconds=1))
    assert imports.claim_next().attempt == 2
    importing._run(importing._Fetch(lost, touched=0.0), NO_PAUSES)
    verify(job)
    assert refusal_of(job) == (Status.UPLOADING, "")


@pytest.mark.long
def test_downloads_keep_their_heartbeats_when_the_database_is_away_for_a_moment(
    organization, server, settings, monkeypatch
):
    settings.HEARTBEAT_SECONDS = 0.1
    submit(organization, server.url("/half"))
    real, asked = imports.claim_next, []

    def claim_next():
        asked.append(1)
        if len(asked) == 3:
            raise OperationalError("away for a moment")
        return real()

    monkeypatch.setattr(imports, "claim_next", claim_next)

    def fetch():
        try:
            fetch_all()
        finally:
            connection.close()

    thread = threading.Thread(target=fetch)
    thread.start()
    server.wait_for_requests(1)
    wait_until(lambda: len(asked) > 3)
    before = Import.objects.get().touched_at
    wait_until(lambda: Import.objects.get().touched_at > before)
    server.goes_on.set()
    thread.join(60)
    assert not thread.is_alive()
    assert Upload.objects.get().state == UploadState.RECEIVED
    assert not Import.objects.exists()
