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
