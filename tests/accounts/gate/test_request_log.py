"""The log of requests: whose a request is, what is found, and that nothing grows without end."""

import time
import uuid
from datetime import timedelta

import pytest
from django.db import OperationalError, ProgrammingError
from django.db.models.signals import post_init
from django.utils import timezone

from accounts import api_keys, closures, tokens
from accounts.gate import request_log
from accounts.gate.request_log import Filter, LoggedRequest, RequestLog
from accounts.models import ApiKey, ApiRequest, Membership, Organization


def make_request(key, **fields):
    facts = {"created_at": timezone.now(), "method": "GET", "path": "/v1/jobs", "status": 200, "duration_ms": 3}
    return LoggedRequest(key=key, **{**facts, "request_id": f"req_{uuid.uuid4().hex}", **fields})


def log(*requests):
    """Write requests; return how many were."""
    one = RequestLog()
    for request in requests:
        one.add(request)
    return one.flush()


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="production", by=None)


def paths(organization, **only):
    return [row.path for row in request_log.find(organization, only=Filter(**only), limit=50)]


def test_requests_are_the_organizations_of_their_keys(organization, charlies, key):
    _, strangers = api_keys.issue(charlies, name="theirs", by=None)
    assert log(make_request(key[1], path="/ours"), make_request(strangers, path="/theirs")) == 2
    assert paths(organization) == ["/ours"]
    assert paths(charlies) == ["/theirs"]


def test_request_with_a_key_of_nobody_is_nobodys(organization, key):
    assert log(make_request("vxp_live_wrong", status=401), make_request("")) == 0
    assert paths(organization) == []


def test_refused_requests_of_a_revoked_key_are_seen(organization, key):
    api_keys.revoke(organization, key_id=key[0].pk)
    log(make_request(key[1], status=401, error_type="invalid_api_key"))
    row = ApiRequest.objects.of(organization).get()
    assert (row.key_id, row.status, row.error_type) == (key[0].pk, 401, "invalid_api_key")


def test_request_with_the_secret_of_before_a_rotation_is_its_keys(organization, key):
    secret = api_keys.rotate(key[0], overlap=timedelta(hours=1), by=None)
    log(make_request(key[1]), make_request(secret))
    assert list(ApiRequest.objects.of(organization).values_list("key_id", flat=True)) == [key[0].pk] * 2


def test_request_of_a_token_names_it_and_is_its_keys(organization, key):
    token, secret = tokens.issue(
        key[0], name="visitor", scopes=["chat"], lifetime=timedelta(minutes=5), spend_limit_micros=9
    )
    log(make_request(secret))
    row = ApiRequest.objects.of(organization).get()
    assert (row.key_id, row.token_id) == (key[0].pk, token.pk)


def test_filters_find_what_they_name(organization, key):
    job_id = uuid.uuid4()
    _, other = api_keys.issue(organization, name="other", by=None)
    log(
        make_request(key[1], path="/v1/jobs/1"),
        make_request(key[1], path="/v1/transcribe", method="POST", status=201, job_id=str(job_id)),
        make_request(other, path="/v1/balance", status=402, error_type="insufficient_balance", request_id="mine-1234"),
    )
    assert paths(organization) == ["/v1/balance", "/v1/transcribe", "/v1/jobs/1"]
    assert paths(organization, key_id=key[0].pk) == ["/v1/transcribe", "/v1/jobs/1"]
    assert paths(organization, is_error=True) == ["/v1/balance"]
    assert paths(organization, is_error=False) == ["/v1/transcribe", "/v1/jobs/1"]
    for text in ("/v1/b", "402", "insufficient_balance", "mine-1234"):
        assert paths(organization, text=text) == ["/v1/balance"], text
    assert paths(organization, text=str(job_id)) == ["/v1/transcribe"]
    assert paths(organization, text="nothing") == []
    assert request_log.of_job(organization, job_id=job_id).path == "/v1/transcribe"


def test_other_organizations_find_nothing_by_its_ids(organization, charlies, key):
    job_id = uuid.uuid4()
    log(make_request(key[1], method="POST", job_id=str(job_id), request_id="mine-1234"))
    assert paths(charlies, text=str(job_id)) == paths(charlies, text="mine-1234") == []
    assert paths(charlies, key_id=key[0].pk) == []
    assert request_log.of_job(charlies, job_id=job_id) is None


def test_pages_follow_each_other(organization, key):
    log(*(make_request(key[1], path=f"/{number}") for number in range(5)))
    first = request_log.find(organization, only=Filter(), limit=3)
    rest = request_log.find(organization, only=Filter(), before=first[-1].pk, limit=3)
    assert [row.path for row in [*first, *rest]] == ["/4", "/3", "/2", "/1", "/0"]


def test_one_key_has_so_many_rows_in_a_minute_and_its_errors_apart(organization, key):
    now = [0.0]
    one = RequestLog(max_per_minute=2, seconds=lambda: now[0])
    for _ in range(3):
        one.add(make_request(key[1]))
        one.add(make_request(key[1], status=404))
    assert one.flush() == 4
    now[0] = 60.0
    one.add(make_request(key[1]))
    assert one.flush() == 1


def test_what_waits_is_bounded(organization, key):
    one = RequestLog(max_waiting=2, max_waiting_unknown=1)
    for expected in (1, 2):  # In the first second it does not know the key.
        for _ in range(3):
            one.add(make_request(key[1]))
        assert one.flush() == expected
    assert one.flush() == 0


def test_keys_of_nobody_take_no_place_of_a_customer(organization, key):
    one = RequestLog(max_waiting=2, max_waiting_unknown=2)
    one.add(make_request(key[1]))
    assert one.flush() == 1
    for _ in range(5):
        one.add(make_request(api_keys.generate(), status=401))
    for path in ("/1", "/2"):
        one.add(make_request(key[1], path=path))
    assert one.flush() == 2
    assert paths(organization) == ["/2", "/1", "/v1/jobs"]


def test_what_has_not_the_form_of_a_key_takes_no_place(organization, key):
    one = RequestLog(max_waiting_unknown=1)
    for text in ("x", "vxp_live_wrong", api_keys.generate()[:-1], "\xe9" * 47):
        one.add(make_request(text, status=401))
    one.add(make_request(key[1]))
    assert one.flush() == 1


def test_many_keys_of_nobody_are_not_remembered(key):
    one = RequestLog(max_digests=2, max_per_minute=1)
    one.add(make_request(key[1]))
    one.add(make_request(api_keys.generate()))
    # There were as many as are counted, so counting begins again.
    one.add(make_request(key[1]))
    assert one.flush() == 2


def test_what_waits_has_no_key_and_little_of_a_long_path(key):
    stored = []

    def store(requests):
        stored.extend(requests)
        return []

    one = RequestLog(store=store)
    one.add(make_request(key[1], path="/" + "x" * 65_000))
    one.flush()
    ((digest, request),) = stored
    assert digest == key[0].sha256
    assert key[1] not in repr(request)
    assert len(request.path) == 200


def test_outage_of_the_database_loses_rows_and_not_the_log(organization, key, caplog):
    def store(_):
        if not caplog.records:
            raise OperationalError
        return ["digest"]

    one = RequestLog(store=store)
    one.add(make_request(key[1]))
    assert one.flush() == 0
    assert "1 requests are missing" in caplog.text
    one.add(make_request(key[1]))
    assert one.flush() == 1


def test_values_of_any_length_fit(organization, key):
    log(make_request(key[1], path="/" + "x" * 500, method="M" * 50, request_id="r" * 200, job_id="none"))
    row = ApiRequest.objects.of(organization).get()
    assert (len(row.path), len(row.method), len(row.request_id), row.job_id) == (200, 10, 128, None)


@pytest.mark.parametrize("sign", ["\0", "\ud800"])
def test_sign_that_no_database_takes_is_replaced(organization, key, sign):
    facts = {"path": f"/v1/jobs/{sign}", "request_id": f"mine{sign}", "error_type": sign}
    assert log(make_request(key[1], **facts), make_request(key[1])) == 2
    assert paths(organization)[1] in ("/v1/jobs/\ufffd", "/v1/jobs/?")


@pytest.mark.django_db(transaction=True)
def test_row_that_cannot_be_written_takes_no_other_along(organization, key, caplog):
    requests = [make_request(key[1], path=f"/{number}") for number in range(7)]
    requests[3] = make_request(key[1], request_id="mine-1234", duration_ms=-1)
    assert log(*requests) == 6
    assert paths(organization) == ["/6", "/5", "/4", "/2", "/1", "/0"]
    (record,) = caplog.records
    assert record.getMessage() == "Request mine-1234 cannot be written into the log of requests."


@pytest.mark.django_db(transaction=True)
def test_organization_that_is_deleted_meanwhile_takes_no_other_along(organization, key):
    deleted = Organization.objects.create(name="Leaving")
    _, secret = api_keys.issue(deleted, name="theirs", by=None)

    def delete(**_):
        # Its key has been read, and the rows are not inserted yet.
        ApiKey.objects.filter(organization=deleted).delete()
        Organization.objects.filter(pk=deleted.pk).delete()

    post_init.connect(delete, sender=ApiRequest)
    try:
        assert log(make_request(key[1], path="/1"), make_request(secret), make_request(key[1], path="/2")) == 2
    finally:
        post_init.disconnect(delete, sender=ApiRequest)
    assert not Organization.objects.filter(pk=deleted.pk).exists()
    assert paths(organization) == ["/2", "/1"]


def test_fault_of_all_rows_is_given_up_soon(key, caplog):
    asked = []

    def store(requests):
        asked.append(requests)
        raise ProgrammingError

    one = RequestLog(store=store)
    for _ in range(200):
        one.add(make_request(key[1]))
    assert one.flush() == 0
    assert len(asked) < 60
    assert "180 requests are missing" in caplog.text


def test_old_requests_are_deleted_and_others_stay(organization, key):
    now = timezone.now()
    log(make_request(key[1], path="/old", created_at=now - timedelta(days=30, seconds=1)), make_request(key[1]))
    assert request_log.purge(now=now) == 1
    assert paths(organization) == ["/v1/jobs"]


def test_deleted_organization_leaves_none_and_gets_none(organization, alice, charlies, key):
    _, strangers = api_keys.issue(charlies, name="theirs", by=None)
    log(make_request(key[1]), make_request(strangers))
    closures.close(Membership.objects.get(organization=organization, user=alice))
    assert log(make_request(key[1])) == 0
    assert request_log.delete_of(organization, ends_at=time.monotonic())
    assert not ApiRequest.objects.of(organization).exists()
    assert ApiRequest.objects.of(charlies).count() == 1
