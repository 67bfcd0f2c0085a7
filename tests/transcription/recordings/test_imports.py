"""Imports: who fetches what next, and that one that lost its import changes nothing."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.errors import BadMedia, InvalidField
from accounts.models import Organization
from tests.fixtures import recordings as samples
from tests.transcription import remote
from tests.transcription.broken_rows import broken
from transcription.models import Import, Priority, Upload, UploadState
from transcription.recordings import imports
from transcription.recordings.downloads import Stopped

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db]
URL = "https://example.com/calls/talk%20one.mp3?signature=secret"
REFUSAL = BadMedia("There is no file at the URL.", error_type="url_not_found")


@pytest.fixture
def server(settings):
    with remote.running(samples.named("sentence-slt.wav").path.read_bytes()) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


@pytest.fixture
def others():
    return [Organization.objects.create(name=name) for name in ("b", "c")]


def begin(organization, *, url=URL, **arguments):
    return imports.begin(organization, url=url, **arguments)


def test_upload_is_announced_with_the_name_of_the_file(organization):
    upload = begin(organization)
    assert (upload.name, upload.state, upload.declared_bytes) == ("talk one.mp3", UploadState.WAITING, None)
    assert "secret" not in str(upload.source) + upload.name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com/a/b/", "b"),
        ("https://example.com/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://example.com/%E2%80%AE3pm.exe", "3pm.exe"),
    ],
)
def test_name_is_the_end_of_the_path_or_the_host(url, name):
    assert imports.name_of(url) == name


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "ftp://example.com/", "https://u:p@example.com/", "talk.mp3", ""])
def test_url_that_may_not_be_called_is_refused_at_once(organization, url):
    with pytest.raises(InvalidField) as caught:
        begin(organization, url=url)
    assert caught.value.data == {"param": "url"}
    assert not Upload.objects.exists()


def test_import_is_claimed_once(organization):
    begin(organization)
    claimed = imports.claim_next()
    assert (claimed.attempt, claimed.url) == (1, URL)
    assert imports.claim_next() is None


def test_claim_does_not_read_all_that_waits(organization, others, django_assert_max_num_queries):
    for owner in (organization, *others):
        for _ in range(20):
            begin(owner)
    with django_assert_max_num_queries(12) as counted:
        assert imports.claim_next() is not None
    assert not any("MIN(" in query["sql"] for query in counted.captured_queries)


def test_no_organization_is_left_out_if_very_many_wait(organization, others):
    for owner in (organization, *others):
        begin(owner)
    claimed = {imports.claim_next(max_heads=1).organization_id for _ in range(3)}
    assert claimed == {organization.pk, *(other.pk for other in others)}


def test_organizations_are_served_in_turn(organization, others):
    for _ in range(3):
        begin(organization)
    for other in others:
        begin(other)
    claimed = [imports.claim_next().organization_id for _ in range(5)]
    assert claimed == [organization.pk, *(other.pk for other in others), organization.pk, organization.pk]


@pytest.mark.django_db(transaction=True)
def test_import_that_cannot_be_claimed_keeps_no_other_waiting(organization, others, caplog):
    stuck, *_ = (begin(owner).source for owner in (organization, others[0], organization))
    with broken(stuck, act="UPDATE"):
        claimed = [imports.claim_next(), imports.claim_next()]
        assert {one.organization_id for one in claimed} == {organization.pk, others[0].pk}
        assert imports.claim_next() is None
    assert f"Import {stuck.pk} cannot be claimed" in caplog.text
    assert imports.claim_next() == stuck


def test_one_who_waits_for_the_answer_comes_before_a_batch(organization):
    for _ in range(imports.MAX_RUNNING_EACH[2] + 1):
        begin(organization, priority=Priority.BULK)
    while imports.claim_next():
        pass
    assert Import.objects.filter(touched_at=None).count() == 1
    begin(organization, priority=Priority.INTERACTIVE)
    assert imports.claim_next().rank == 0


def test_organization_has_a_limited_number_of_places(organization, others):
    for _ in range(20):
        begin(organization, priority=Priority.INTERACTIVE)
    begin(others[0])
    claimed = []
    while found := imports.claim_next():
        claimed.append(found.organization_id)
    assert claimed.count(organization.pk) == imports.MAX_RUNNING_EACH[0]
    assert claimed.count(others[0].pk) == 1


def test_bytes_come_into_storage_and_the_url_is_forgotten(organization, server):
    upload = begin(organization, url=server.url("/talk.mp3"))
    imports.fetch(imports.claim_next())
    upload.refresh_from_db()
    assert upload.state == UploadState.RECEIVED
    assert not Import.objects.exists()
    with imports.storage.path_of(upload.storage_key) as path:
        assert path.read_bytes() == server.content


def test_attempt_that_lost_its_import_stores_nothing(organization, server, settings):
    upload = begin(organization, url=server.url("/talk.mp3"))
    frozen = imports.claim_next()
    assert imports.give_back_silent(since=timezone.now() + timedelta(seconds=1)) == 1
    second = imports.claim_next()
    assert second.attempt == 2
    with pytest.raises(imports.Lost):
        imports.fetch(frozen)
    assert not imports.touch(frozen)
    assert not imports.refuse(frozen, error=REFUSAL)
    imports.drop(frozen)
    imports.give_back(frozen)
    upload.refresh_from_db()
    assert upload.state == UploadState.WAITING
    assert not list(settings.MEDIA_ROOT.glob(f"media/{organization.pk}/*"))
    assert imports.touch(second)
    imports.fetch(second)
    upload.refresh_from_db()
    assert upload.state == UploadState.RECEIVED


def test_import_whose_upload_expired_is_lost(organization, server):
    upload = begin(organization, url=server.url("/talk.mp3"))
    claimed = imports.claim_next()
    Upload.objects.filter(pk=upload.pk).update(state=UploadState.EXPIRED)
    with pytest.raises(imports.Lost):
        imports.fetch(claimed)


def test_refusal_stands_in_the_upload(organization):
    upload = begin(organization)
    assert imports.refuse(imports.claim_next(), error=REFUSAL)
    upload.refresh_from_db()
    assert (upload.state, upload.error_type) == (UploadState.REFUSED, "url_not_found")
    assert not Import.objects.exists()


def test_next_attempt_goes_on_where_a_crash_ended_the_first(organization, server, settings):
    begin(organization, url=server.url("/talk.mp3"))
    first = imports.claim_next()
    # The storage is away: what was downloaded stays on this machine.
    location = settings.MEDIA_ROOT / "media"
    location.mkdir(parents=True, exist_ok=True)
    blocked = location / str(organization.pk)
    blocked.write_text("no folder")
    with pytest.raises(OSError):
        imports.fetch(first)
    blocked.unlink()
    imports.give_back(first)
    imports.fetch(imports.claim_next())
    assert server.ranges() == [None, f"bytes={len(server.content)}-"]


def test_fetching_stops_when_it_is_asked_to(organization, server):
    begin(organization, url=server.url("/silent"))
    claimed = imports.claim_next()
    with pytest.raises(Stopped):
        imports.fetch(claimed, should_stop=lambda: True)
