"""Monthly limits, raises and alerts over HTTP, and that the ledger obeys them from the next hold on."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection

from accounts import api_keys
from accounts.models import ApiKey
from billing import ledger
from billing.models import EntryKind, MonthlySpend, Wallet
from tests.billing.test_key_api import ALL, Manager, error_of

NOW = datetime(2026, 4, 19, 18, tzinfo=UTC)


@pytest.fixture
def manager(organization, alice):
    row, key = api_keys.issue(organization, name="manager", by=alice, scopes=ALL)
    manager = Manager(key)
    manager.row = row
    return manager


@pytest.fixture
def limited(organization):
    row, key = api_keys.issue(organization, name="limited", by=None, scopes=ALL, monthly_limit_micros=5)
    limited = Manager(key)
    limited.row = row
    return limited


@pytest.fixture
def server(organization):
    return api_keys.issue(organization, name="server", by=None)[0]


@pytest.fixture(autouse=True)
def funds(organization):
    ledger.credit(organization, amount_micros=1_000_000, kind=EntryKind.PAYMENT, reference="topup:limits")


def hold(organization, amount, key=None):
    return ledger.reserve(organization, amount_micros=amount, reference=f"job:{uuid.uuid4()}", api_key=key)


def test_limits_of_organization_and_keys_are_shown(manager, server, organization):
    with time_machine.travel(NOW, tick=False):
        hold(organization, 7, server)
        hold(organization, 5)
        manager.send("PUT", "/v1/limits", {"monthly_limit_micros": 100})
        manager.send("PUT", "/v1/limits", {"key_id": str(server.pk), "monthly_limit_micros": 10})
        shown = manager.get("/v1/limits").json()
    raises = {"raised_limit_micros": None, "raised_until": None, "resets_at": "2026-05-01 00:00:00"}
    assert shown["organization"] == {
        "key_id": None, "monthly_limit_micros": 100, "spent_micros": 12, "left_micros": 88, **raises
    }  # fmt: skip
    by_key = {key["key_id"]: key for key in shown["keys"]}
    assert by_key[str(server.pk)] == {
        "key_id": str(server.pk), "monthly_limit_micros": 10, "spent_micros": 7, "left_micros": 3, **raises
    }  # fmt: skip
    assert by_key[str(manager.row.pk)]["left_micros"] is None


@pytest.mark.parametrize("whose", ["organization", "key"])
def test_limit_counts_from_the_next_hold_on_and_a_raise_ends_by_itself(manager, server, organization, whose):
    key_id = str(server.pk) if whose == "key" else None
    with time_machine.travel(NOW, tick=False) as clock:
        until = (NOW + timedelta(hours=1)).isoformat()
        limit = {"key_id": key_id, "monthly_limit_micros": 10}
        assert manager.send("PUT", "/v1/limits", limit).status_code == 200
        hold(organization, 10, server)
        with pytest.raises(ledger.SpendLimitReached) as caught:
            hold(organization, 1, server)
        assert (caught.value.data["limit"], caught.value.data["limit_micros"]) == (whose, 10)
        raised = manager.send("PUT", "/v1/limits", {**limit, "temporary_raise": {"limit_micros": 15, "until": until}})
        assert raised.json()["raised_until"] == "2026-04-19 19:00:00"
        assert (raised.json()["monthly_limit_micros"], raised.json()["left_micros"]) == (10, 5)
        hold(organization, 4, server)
        clock.shift(timedelta(hours=1))
        with pytest.raises(ledger.SpendLimitReached) as caught:
            hold(organization, 1, server)
        assert (caught.value.data["limit_micros"], caught.value.data["left_micros"]) == (10, 0)
        shown = manager.get("/v1/limits").json()
        of_limit = next(one for one in [shown["organization"], *shown["keys"]] if one["key_id"] == key_id)
        assert (of_limit["raised_limit_micros"], of_limit["raised_until"], of_limit["left_micros"]) == (None, None, 0)


@pytest.mark.parametrize("whose", ["organization", "key"])
def test_a_new_limit_ends_the_raise(manager, server, organization, whose):
    limit = {"key_id": str(server.pk) if whose == "key" else None, "monthly_limit_micros": 10}
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    manager.send("PUT", "/v1/limits", {**limit, "temporary_raise": {"limit_micros": 15, "until": until}})
    assert manager.send("PUT", "/v1/limits", limit).json()["raised_limit_micros"] is None
    with pytest.raises(ledger.SpendLimitReached):
        hold(organization, 11, server)


def test_a_limit_lowered_by_another_way_ends_the_raise(manager, server, organization):
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"key_id": str(server.pk), "monthly_limit_micros": 10}
    manager.send("PUT", "/v1/limits", {**body, "temporary_raise": {"limit_micros": 15, "until": until}})
    manager.send("PATCH", f"/v1/keys/{server.pk}", {"monthly_limit_micros": 9})
    with pytest.raises(ledger.SpendLimitReached):
        hold(organization, 10, server)


def test_limited_key_raises_nothing_for_itself(limited, organization):
    own = {"key_id": str(limited.row.pk)}
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    higher = {"limit_micros": 7, "until": until}
    ledger.set_monthly_limit(organization, limit_micros=50)
    for body in (
        {**own, "monthly_limit_micros": 6},
        {**own, "monthly_limit_micros": None},
        {**own, "monthly_limit_micros": 5, "temporary_raise": higher},
        {"monthly_limit_micros": 51},
        {"monthly_limit_micros": None},
        {"monthly_limit_micros": 6, "temporary_raise": higher},
    ):
        assert error_of(limited.send("PUT", "/v1/limits", body), status=403)["type"] == "forbidden"
    limited.row.refresh_from_db()
    assert limited.row.limit_at(datetime.now(UTC)) == 5
    assert Wallet.objects.get(organization=organization).limit_at(datetime.now(UTC)) == 50
    assert limited.send("PUT", "/v1/limits", {"monthly_limit_micros": 49}).json()["monthly_limit_micros"] == 49
    assert limited.send("PUT", "/v1/limits", {**own, "monthly_limit_micros": 4}).status_code == 200


def test_limited_key_gives_of_its_own_by_limits_too(limited, server, organization):
    server = api_keys.set_monthly_limit(organization, key_id=server.pk, limit_micros=1)
    body = {"key_id": str(server.pk), "monthly_limit_micros": 7}
    assert error_of(limited.send("PUT", "/v1/limits", body), status=403)
    assert limited.send("PUT", "/v1/limits", {**body, "monthly_limit_micros": 6}).status_code == 200
    limited.row.refresh_from_db()
    assert limited.row.monthly_limit_micros == 0


def test_stranger_and_key_without_admin_set_nothing(manager, charlies, organization):
    theirs, _ = api_keys.issue(charlies, name="theirs", by=None)
    for path, body in (("/v1/limits", {"monthly_limit_micros": 1}), ("/v1/alerts", {"percents": [50]})):
        for key_id in (str(theirs.pk), str(uuid.uuid4())):
            assert error_of(manager.send("PUT", path, {**body, "key_id": key_id}), status=404)
        weak = Manager(api_keys.issue(organization, name="weak", by=None, scopes=ALL[:-1])[1])
        for method in ("GET", "PUT"):
            assert error_of(weak.send(method, path, body), status=403)["required_scopes"] == ["admin"]
        assert error_of(Manager("").send("PUT", path, body), status=401)
    theirs.refresh_from_db()
    assert theirs.monthly_limit_micros is None
    assert str(theirs.pk) not in manager.get("/v1/limits").content.decode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "monthly_limit_micros"),
        ({"monthly_limit_micros": -1}, "monthly_limit_micros"),
        ({"monthly_limit_micros": 5, "key_id": "none"}, "key_id"),
        ({"monthly_limit_micros": 5, "raise": {}}, "raise"),
        ({"monthly_limit_micros": 5, "temporary_raise": {"limit_micros": 7}}, "temporary_raise"),
        ({"monthly_limit_micros": 5, "temporary_raise": {"limit_micros": 4, "until": "SOON"}}, "temporary_raise"),
        ({"monthly_limit_micros": 5, "temporary_raise": {"limit_micros": 7, "until": "PAST"}}, "temporary_raise"),
        ({"monthly_limit_micros": 5, "temporary_raise": {"limit_micros": 7, "until": "FAR"}}, "temporary_raise"),
        ({"monthly_limit_micros": None, "temporary_raise": {"limit_micros": 7, "until": "SOON"}}, "temporary_raise"),
    ],
)
def test_wrong_limit_is_refused_and_changes_nothing(manager, organization, body, param):
    times = {"SOON": timedelta(hours=1), "PAST": timedelta(seconds=-1), "FAR": timedelta(days=367)}
    higher = body.get("temporary_raise")
    if higher and "until" in higher:
        until = (datetime.now(UTC) + times[higher["until"]]).isoformat()
        body = {**body, "temporary_raise": {**higher, "until": until}}
    error = error_of(manager.send("PUT", "/v1/limits", body), status=400)
    assert error["param"] == param
    assert Wallet.objects.get(organization=organization).monthly_limit_micros is None


def test_alerts_are_set_shown_and_turned_off(manager, server):
    assert manager.get("/v1/alerts").json() == {"organization": {"key_id": None, "percents": []}, "keys": []}
    assert manager.send("PUT", "/v1/alerts", {"percents": [100, 80, 80]}).json()["percents"] == [80, 100]
    manager.send("PUT", "/v1/alerts", {"key_id": str(server.pk), "percents": [50]})
    assert manager.get("/v1/alerts").json() == {
        "organization": {"key_id": None, "percents": [80, 100]},
        "keys": [{"key_id": str(server.pk), "percents": [50]}],
    }
    assert manager.send("PUT", "/v1/alerts", {"percents": []}).json() == {"key_id": None, "percents": []}
    assert manager.get("/v1/alerts").json()["organization"]["percents"] == []


@pytest.mark.parametrize("percents", [None, "80", [0], [101], [50.5], list(range(1, 12))])
def test_wrong_alert_is_refused(manager, percents):
    error = error_of(manager.send("PUT", "/v1/alerts", {"percents": percents}), status=400)
    assert error["param"] == "percents"


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_holds_of_many_at_once_stay_within_a_raised_and_a_lowered_limit(manager, server, organization):
    """Twelve threads hold 1 after 1, while the limit of 10 is raised to 20 and lowered to 15."""
    manager.send("PUT", "/v1/limits", {"key_id": str(server.pk), "monthly_limit_micros": 10})
    begin = threading.Barrier(13)
    refusals = []

    def reserve():
        try:
            begin.wait()
            while True:
                hold(organization, 1, ApiKey.objects.get(pk=server.pk))
        except ledger.SpendLimitReached as refusal:
            refusals.append(refusal)
        finally:
            connection.close()

    def change():
        try:
            begin.wait()
            for limit in (20, 15):
                manager.send("PUT", "/v1/limits", {"key_id": str(server.pk), "monthly_limit_micros": limit})
        finally:
            connection.close()

    threads = [threading.Thread(target=reserve) for _ in range(12)] + [threading.Thread(target=change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spend = MonthlySpend.objects.get(api_key=server)
    assert 10 <= spend.spent_micros <= 20
    assert spend.spent_micros == Wallet.objects.get(organization=organization).held_micros
    assert len(refusals) == 12
    with pytest.raises(ledger.SpendLimitReached):
        hold(organization, max(1, 16 - spend.spent_micros), server)
