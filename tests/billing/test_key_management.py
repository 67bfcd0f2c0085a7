"""The rules of `billing.key_management` are tested over HTTP in test_key_api. Here is what no single request shows."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from accounts import api_keys
from accounts.errors import Forbidden, Unauthorized
from accounts.gate import idempotency
from accounts.models import ApiKey
from billing import key_management, ledger
from billing.models import EntryKind, MonthlySpend

ALL = ["transcribe", "chat", "read", "billing", "admin"]


def test_key_that_was_revoked_meanwhile_makes_none(organization):
    actor, _ = api_keys.issue(organization, name="manager", by=None, scopes=ALL)
    api_keys.revoke(organization, key_id=actor.pk)
    with pytest.raises(Unauthorized):
        key_management.create(actor, name="x", scopes=["read"], expires_at=None, monthly_limit_micros=None)


@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(hours=1)])
def test_secret_that_was_rotated_away_meanwhile_makes_none(organization, overlap):
    """The thief's request had been let in, and waited for the lock."""
    _, secret = api_keys.issue(organization, name="manager", by=None, scopes=ALL)
    actor = api_keys.find(secret)
    api_keys.rotate(ApiKey.objects.get(pk=actor.pk), overlap=overlap, by=None)
    with pytest.raises(Unauthorized):
        key_management.create(actor, name="x", scopes=["read"], expires_at=None, monthly_limit_micros=None)


def test_scope_that_was_taken_meanwhile_is_not_given(organization):
    actor, secret = api_keys.issue(organization, name="manager", by=None, scopes=ALL)
    actor = api_keys.find(secret)
    api_keys.set_scopes(organization, key_id=actor.pk, scopes=["admin"])
    with pytest.raises(Forbidden):
        key_management.create(actor, name="x", scopes=["chat"], expires_at=None, monthly_limit_micros=None)


@pytest.mark.django_db(transaction=True)
def test_limit_is_given_once_by_many_at_once(organization):
    """Eight requests give 3 of 10 each: three keys come of it, and the limits sum up to what there was."""
    actor, _ = api_keys.issue(organization, name="manager", by=None, scopes=ALL, monthly_limit_micros=10)
    begin = threading.Barrier(8)
    made = []

    def give():
        try:
            begin.wait()
            mine = ApiKey.objects.get(pk=actor.pk)
            made.append(key_management.create(mine, name="x", scopes=["read"], expires_at=None, monthly_limit_micros=3))
        except Forbidden:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=give) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    assert sum(ApiKey.objects.values_list("monthly_limit_micros", flat=True)) == 10
    assert ApiKey.objects.get(pk=actor.pk).monthly_limit_micros == 1


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_keys_are_managed_while_work_is_ordered(organization):
    """Orders insert rows of the organization before and after they lock the wallet. Nobody waits in a circle."""
    ledger.credit(organization, amount_micros=10_000, kind=EntryKind.PAYMENT, reference="topup:orders")
    actor, _ = api_keys.issue(organization, name="manager", by=None, scopes=ALL)
    server, _ = api_keys.issue(organization, name="server", by=None, monthly_limit_micros=10_000)
    begin = threading.Barrier(6)
    failures = []

    def order(worker):
        for number in range(15):
            with transaction.atomic():
                idempotency.claim(organization, key=f"{worker}.{number}.before", request_fingerprint="x")
                ledger.reserve(organization, amount_micros=1, reference=f"job:{worker}.{number}", api_key=server)
                idempotency.claim(organization, key=f"{worker}.{number}.after", request_fingerprint="x")

    def manage(_):
        for limit in range(9_000, 9_015):
            mine = ApiKey.objects.get(pk=actor.pk)
            key_management.change(mine, key_id=server.pk, changes={"monthly_limit_micros": limit, "name": f"{limit}"})
            key_management.set_limit(mine, key_id=None, limit_micros=limit, raised_micros=None, raised_until=None)

    def run(work, worker):
        try:
            begin.wait()
            work(worker)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    works = [order, order, order, order, manage, manage]
    threads = [threading.Thread(target=run, args=(work, worker)) for worker, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert MonthlySpend.objects.get(api_key=server).spent_micros == 60
