"""The life of a delivery, against a real receiver: accepted, tried again by the schedule, gone, sent again by hand."""

import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import connection
from django.utils import timezone

from accounts.errors import Conflict
from tests.transcription.broken_rows import broken
from tests.transcription.factories import make_job, make_media, make_submission
from tests.transcription.webhooks.conftest import deliver_due, only_delivery
from transcription import jobs
from transcription.models import Delivery, DeliveryAttempt, DeliveryState, EventType, Fault, Job
from transcription.webhooks import delivery, endpoints, keys, outbox, targets
from transcription.webhooks.delivery import Result
from transcription.webhooks.lanes import Lanes

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def announce(organization, event=EventType.BALANCE_LOW):
    outbox.announce(organization.pk, event=event, at=timezone.now(), data={"number": 7})


def attempts():
    return list(DeliveryAttempt.objects.order_by("delivery__created_at", "number"))


def result_of(request, **fields):
    return Result(request=request, finished_at=timezone.now(), **fields)


# --- Accepted --------------------------------------------------------------------------------------------------------


def test_accepted_delivery_is_recorded_with_request_and_answer(organization, register, receiver, clock):
    register(header_name="Authorization", header_value="Bearer secret")
    receiver.content = b"thank you"
    announce(organization)
    deliver_due()
    row = only_delivery()
    assert (row.state, row.delivered_at, row.last_status, row.fault) == (DeliveryState.DELIVERED, START, 200, "")
    (asked,) = receiver.asked
    assert asked.method == "POST"
    assert asked.body.decode() == row.body
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["Authorization"] == "Bearer secret"
    (attempt,) = attempts()
    assert (attempt.number, attempt.status, attempt.response_body) == (1, 200, "thank you")
    assert attempt.request_headers["Authorization"] == "(hidden)"
    assert attempt.request_headers["webhook-id"] == row.pk
    assert attempt.response_headers["Etag"] == '"one"'
    assert deliver_due() == []


def test_receiver_can_check_the_signature(organization, register, receiver, clock):
    register()
    announce(organization)
    deliver_due()
    (asked,) = receiver.asked
    headers = asked.headers
    assert headers["webhook-timestamp"] == str(int(START.timestamp()))
    (shown,) = keys.public_document(now=START)["keys"]
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(shown["public_key"].removeprefix("whpk_")))
    signature = base64.b64decode(headers["webhook-signature"].removeprefix("v1a,"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode()
    public.verify(signature, signed + asked.body)
    with pytest.raises(InvalidSignature):
        public.verify(signature, signed + asked.body.replace(b"7", b"8"))


def test_webhook_of_a_job_carries_its_own_header(organization, receiver):
    target = targets.read(url=receiver.url("/whole"), header_name="X-Key", header_value="secret")
    job = jobs.submit(make_submission(organization, webhook=target), media=make_media(organization))
    jobs.cancel(job)
    deliver_due()
    (asked,) = receiver.asked
    assert asked.headers["X-Key"] == "secret"
    assert json.loads(asked.body)["data"]["id"] == str(job.pk)


def test_header_that_no_key_opens_stops_no_other_delivery(organization, register, receiver, charlies):
    broken = targets.read(url=receiver.url("/whole"), header_name="X-Key", header_value="secret")
    job = jobs.submit(make_submission(organization, webhook=broken), media=make_media(organization))
    jobs.cancel(job)
    Job.objects.filter(pk=job.pk).update(webhook_header_value="of a key that was dropped")
    whole = targets.read(url=receiver.url("/whole"), header_name="", header_value="")
    other = jobs.submit(make_submission(charlies, webhook=whole), media=make_media(charlies))
    jobs.cancel(other)
    deliver_due()
    (asked,) = receiver.asked
    assert json.loads(asked.body)["data"]["id"] == str(other.pk)
    assert Delivery.objects.get(job=job).fault == Fault.INTERRUPTED
    assert Delivery.objects.get(job=job).attempt == 1


@pytest.fixture
def broken_and_whole(organization, charlies, receiver):
    """The webhooks of two canceled jobs of two organizations."""
    target = targets.read(url=receiver.url("/whole"), header_name="", header_value="")
    made = []
    for owner in (organization, charlies):
        job = jobs.submit(make_submission(owner, webhook=target), media=make_media(owner))
        jobs.cancel(job)
        made.append(Delivery.objects.get(job=job))
    return made


def test_row_that_cannot_be_signed_stops_no_other_delivery_and_is_given_up_by_the_schedule(broken_and_whole, caplog):
    broken, whole = broken_and_whole
    Delivery.objects.filter(pk=broken.pk).update(signer="of a later release")
    assert [result.request.delivery_id for result in deliver_due()] == [whole.pk]
    assert f"The webhook {broken.pk} could not be claimed" in caplog.text
    for attempt in range(1, 11):
        broken.refresh_from_db()
        assert (broken.attempt, broken.step, broken.fault) == (attempt, attempt, Fault.INTERRUPTED)
        if attempt < 10:
            assert broken.next_attempt_at > timezone.now()
            assert deliver_due(now=broken.next_attempt_at) == []
    assert (broken.state, broken.next_attempt_at) == (DeliveryState.FAILED, None)
    whole.refresh_from_db()
    assert (whole.state, whole.attempt) == (DeliveryState.DELIVERED, 1)


def test_broken_json_of_a_job_stops_not_even_its_own_delivery(broken_and_whole):
    broken, whole = broken_and_whole
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":  # PostgreSQL keeps out what is no JSON
            cursor.execute("PRAGMA ignore_check_constraints = ON")
            cursor.execute("UPDATE transcription_job SET options = '{' WHERE id = %s", [broken.job_id.hex])
            cursor.execute("PRAGMA ignore_check_constraints = OFF")
    assert {result.request.delivery_id for result in deliver_due()} == {broken.pk, whole.pk}


@pytest.mark.django_db(transaction=True)
def test_row_that_the_database_refuses_to_change_stops_no_other_delivery(broken_and_whole, caplog):
    refused, whole = broken_and_whole
    with broken(refused, act="UPDATE"):
        assert [result.request.delivery_id for result in deliver_due()] == [whole.pk]
        assert f"The webhook {refused.pk} could not be put off" in caplog.text
    assert [result.request.delivery_id for result in deliver_due()] == [refused.pk]


def test_attempt_that_is_written_down_already_stops_no_other_delivery(broken_and_whole):
    """As a restored backup may have it."""
    broken, whole = broken_and_whole
    DeliveryAttempt.objects.create(delivery=broken, number=1, url=broken.url, started_at=START, finished_at=START)
    assert [result.request.delivery_id for result in deliver_due()] == [whole.pk]
    broken.refresh_from_db()
    assert [result.request.attempt for result in deliver_due(now=broken.next_attempt_at)] == [2]


# --- Not accepted ----------------------------------------------------------------------------------------------------


def test_receiver_that_answers_500_for_an_hour_is_asked_by_the_schedule(organization, register, receiver, clock):
    register("/status?code=500")
    announce(organization)
    asked_at = []
    for minute in range(13):
        # 5 s after the minute, so that the second attempt, 5 s after the first one, is seen as well.
        for second in (0, 5):
            clock.move_to(START + timedelta(minutes=5 * minute, seconds=second))
            asked_at += [timezone.now() - START for _ in deliver_due()]
    seconds = [int(moment.total_seconds()) for moment in asked_at]
    # At once, 5 s later, 5 min later, 30 min later. The next pause is two hours.
    assert seconds == [0, 5, 305, 2105]
    row = only_delivery()
    assert (row.state, row.last_status, row.fault) == (DeliveryState.PENDING, 500, "status")
    assert row.next_attempt_at == START + timedelta(seconds=2105) + timedelta(hours=2)
    assert [attempt.fault_detail for attempt in attempts()] == [
        "The receiver answered 500. A status from 200 to 299 is expected."
    ] * 4
    assert {asked.headers["webhook-id"] for asked in receiver.asked} == {row.pk}
    # Each attempt is signed with its own time.
    assert len({asked.headers["webhook-timestamp"] for asked in receiver.asked}) == 4
    # After the hour it accepts.
    Delivery.objects.update(url=receiver.url("/whole"))
    clock.move_to(row.next_attempt_at)
    deliver_due()
    row.refresh_from_db()
    assert (row.state, row.fault) == (DeliveryState.DELIVERED, "")


def test_delivery_fails_for_good_after_ten_attempts_in_four_days(organization, register, receiver, clock):
    register("/status?code=503")
    announce(organization)
    while (due := only_delivery().next_attempt_at) is not None:
        clock.move_to(due)
        deliver_due()
    row = only_delivery()
    assert (row.state, row.attempt) == (DeliveryState.FAILED, 10)
    assert timedelta(days=3) < timezone.now() - START < timedelta(days=4)
    assert len(receiver.asked) == 10


def test_receiver_that_answers_410_turns_its_endpoint_off(organization, register, receiver, clock):
    endpoint = register("/status?code=410")
    announce(organization)
    announce(organization)
    deliver_due(lanes=Lanes(max_per_receiver=1))
    endpoint.refresh_from_db()
    assert (endpoint.is_on, endpoint.disabled_by) == (False, Fault.GONE)
    assert set(Delivery.objects.values_list("state", "fault")) == {("failed", "gone"), ("failed", "endpoint_off")}
    announce(organization)
    assert Delivery.objects.count() == 2
    assert len(receiver.asked) == 1


def test_410_ends_the_webhook_of_a_job(organization, receiver):
    target = targets.read(url=receiver.url("/status?code=410"))
    jobs.cancel(jobs.submit(make_submission(organization, webhook=target), media=make_media(organization)))
    deliver_due()
    assert (only_delivery().state, only_delivery().fault) == ("failed", "gone")


def test_redirect_to_this_machine_is_not_followed(organization, register, receiver, clock):
    register(f"/redirect?to={receiver.url('/whole')}")
    announce(organization)
    deliver_due()
    row = only_delivery()
    assert (row.state, row.fault, row.last_status) == (DeliveryState.PENDING, "redirect", 302)
    assert [asked.path.partition("?")[0] for asked in receiver.asked] == ["/redirect"]
    (attempt,) = attempts()
    assert attempt.response_headers["Location"] == receiver.url("/whole")
    assert attempt.fault_detail.endswith("Redirects are not followed.")


def test_address_that_turns_out_private_is_not_called(organization, register, receiver, settings):
    register()
    announce(organization)
    settings.ALLOWED_PRIVATE_ADDRESSES = []
    deliver_due()
    row = only_delivery()
    assert (row.state, row.fault, row.last_status) == (DeliveryState.PENDING, "refused", None)
    assert attempts()[0].fault_detail
    assert receiver.asked == []


def test_receiver_that_does_not_answer_in_time(organization, register, receiver):
    register("/silent")
    announce(organization)
    deliver_due(total_seconds=0.2)
    row = only_delivery()
    assert (row.state, row.fault, row.last_status) == (DeliveryState.PENDING, "timeout", None)
    (attempt,) = attempts()
    assert attempt.finished_at is not None
    assert attempt.duration_ms is not None


# --- Claims ----------------------------------------------------------------------------------------------------------


def test_two_deliverers_do_not_claim_the_same(organization, register, clock):
    register()
    announce(organization)
    assert len(delivery.claim(now=START, lanes=Lanes())) == 1
    assert delivery.claim(now=START, lanes=Lanes()) == []


def test_delivery_of_a_dead_deliverer_is_sent_again_with_the_same_id(organization, register, receiver, clock):
    register()
    announce(organization)
    (lost,) = delivery.claim(now=START, lanes=Lanes())
    # kill -9: nothing is recorded.
    clock.move_to(START + delivery.LEASE - timedelta(seconds=1))
    assert deliver_due() == []
    clock.move_to(START + delivery.LEASE)
    deliver_due()
    (asked,) = receiver.asked
    assert asked.headers["webhook-id"] == lost.delivery_id
    assert only_delivery().state == DeliveryState.DELIVERED
    assert [(attempt.fault, attempt.finished_at is None) for attempt in attempts()] == [
        ("interrupted", False),
        ("", False),
    ]


def test_late_result_of_an_older_attempt_changes_only_the_log(organization, register, clock):
    register()
    announce(organization)
    (frozen,) = delivery.claim(now=START, lanes=Lanes())
    clock.move_to(START + delivery.LEASE)
    deliver_due()
    delivery.record(result_of(frozen, status=500, fault=Fault.STATUS))
    assert (only_delivery().state, only_delivery().last_status) == (DeliveryState.DELIVERED, 200)
    assert [attempt.status for attempt in attempts()] == [500, 200]


def test_result_that_is_recorded_twice_counts_once(organization, register, clock):
    register()
    announce(organization)
    (request,) = delivery.claim(now=START, lanes=Lanes())
    for _ in range(2):
        delivery.record(result_of(request, status=500, fault=Fault.STATUS), chance=lambda: 0.5)
    row = only_delivery()
    assert (row.attempt, row.step, row.next_attempt_at) == (1, 1, START + timedelta(seconds=5))


def test_result_of_a_deleted_delivery_is_dropped(organization, register, clock):
    endpoint = register()
    announce(organization)
    (request,) = delivery.claim(now=START, lanes=Lanes())
    endpoints.delete(endpoint)
    delivery.record(result_of(request, status=200))
    assert not Delivery.objects.exists()


def test_thousands_for_one_receiver_do_not_hide_those_for_another(organization, charlies, register, receiver, clock):
    register()
    for _ in range(20):
        announce(organization)
    endpoints.register(charlies, url=receiver.url("/whole"), events=["balance.low"])
    announce(charlies)
    requests = delivery.claim(now=START, lanes=Lanes(max_per_receiver=2, max_per_organization=4))
    assert Counter(one.receiver.organization for one in requests) == {organization.pk: 2, charlies.pk: 1}


def test_look_goes_on_behind_receivers_without_room(organization, charlies, register, receiver, clock):
    register()
    for _ in range(8):
        announce(organization)
    endpoints.register(charlies, url=receiver.url("/whole"), events=["balance.low"])
    announce(charlies)
    requests = delivery.claim(now=START, lanes=Lanes(max_per_receiver=2), look_size=3)
    assert Counter(one.receiver.organization for one in requests) == {organization.pk: 2, charlies.pk: 1}


def test_claim_that_gets_nothing_leaves_the_lanes_free(organization, register, clock, monkeypatch):
    register()
    announce(organization)
    counted = Lanes()
    choose = delivery._choose

    def choose_and_lose(**fields):
        chosen = choose(**fields)
        Delivery.objects.update(next_attempt_at=START + timedelta(hours=1))
        return chosen

    monkeypatch.setattr(delivery, "_choose", choose_and_lose)
    assert delivery.claim(now=START, lanes=counted) == []
    assert counted._organizations.total() == 0


# --- By hand ---------------------------------------------------------------------------------------------------------


def test_delivery_that_failed_is_sent_again_with_a_new_schedule(organization, register, receiver, clock):
    register("/status?code=500")
    announce(organization)
    Delivery.objects.update(step=9)
    deliver_due()
    row = only_delivery()
    assert row.state == DeliveryState.FAILED
    delivery.send_again(row, now=timezone.now())
    deliver_due()
    row.refresh_from_db()
    assert (row.state, row.attempt, row.step) == (DeliveryState.PENDING, 2, 1)
    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 1


def test_delivery_that_was_accepted_can_be_sent_again(organization, register, receiver, clock):
    register()
    announce(organization)
    deliver_due()
    clock.shift(60)
    delivery.send_again(only_delivery(), now=timezone.now())
    deliver_due()
    row = only_delivery()
    assert (row.state, row.delivered_at, len(receiver.asked)) == (DeliveryState.DELIVERED, START, 2)


def test_nothing_is_sent_again_to_an_endpoint_that_is_off(organization, register, clock):
    endpoint = register()
    announce(organization)
    endpoints.turn_off(endpoint.pk, now=START)
    with pytest.raises(Conflict):
        delivery.send_again(only_delivery(), now=START)


def test_test_is_tried_once(organization, register, receiver, clock):
    outbox.test(register("/status?code=500"))
    deliver_due()
    assert (only_delivery().state, len(receiver.asked)) == (DeliveryState.FAILED, 1)


# --- The log ---------------------------------------------------------------------------------------------------------


def test_log_keeps_what_has_ended_for_a_while_and_what_is_pending(organization, register, clock):
    register()
    for _ in range(3):
        announce(organization)
    deliver_due(lanes=Lanes(max_per_receiver=2))
    keep = timedelta(days=30)
    assert delivery.sweep(now=START + keep, older_than=keep) == 0
    assert delivery.sweep(now=START + keep + timedelta(seconds=1), older_than=keep, batch_size=1) == 2
    assert only_delivery().state == DeliveryState.PENDING


def test_job_that_is_deleted_takes_its_log_with_it(organization, register, receiver):
    register()
    job = make_job(organization)
    jobs.cancel(job)
    deliver_due()
    jobs.delete(job)
    assert not DeliveryAttempt.objects.exists()
