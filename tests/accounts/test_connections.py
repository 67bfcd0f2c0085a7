import pytest
from django.db import connections as django_connections
from django.db import transaction

from accounts import connections


@pytest.fixture
def closed(transactional_db, monkeypatch):
    times = []
    monkeypatch.setattr(django_connections["default"], "close", lambda: times.append(1))
    return times


def test_connection_is_given_back(closed):
    connections.release()
    assert len(closed) == 1


def test_open_transaction_keeps_its_connection(closed):
    with transaction.atomic():
        connections.release()
    assert closed == []
