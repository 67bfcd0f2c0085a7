import pytest
from django.db import connections as django_connections
from django.db import transaction

from accounts import database_connection


@pytest.fixture
def closed(transactional_db, monkeypatch):
    times = []
    monkeypatch.setattr(django_connections["default"], "close", lambda: times.append(1))
    return times


def test_connection_is_given_back(closed):
    database_connection.release()
    assert len(closed) == 1


def test_open_transaction_keeps_its_connection(closed):
    with transaction.atomic():
        database_connection.release()
    assert closed == []


@pytest.mark.parametrize(("options", "count"), [({"pool": {"max_size": 4}}, 1), ({}, 0)])
def test_connection_of_a_pool_alone_is_given_back_before_short_work(closed, monkeypatch, options, count):
    # Only here: with these options SQLite could not be opened again, to empty the tables after the test.
    with monkeypatch.context() as patch:
        patch.setitem(django_connections["default"].settings_dict, "OPTIONS", options)
        database_connection.release_to_pool()
    assert len(closed) == count
