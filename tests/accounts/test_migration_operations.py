"""Indexes that are made while rows are written: what stays in the database, forwards, again and backwards."""

import threading

import pytest
from django.db import connection, models
from django.db.migrations.state import ProjectState

from accounts.migration_operations import AddBeginningIndex, AddIndexConcurrently
from accounts.models import Organization

TABLE = "accounts_organization"
OPERATIONS = (
    AddIndexConcurrently("organization", models.Index(fields=["name"], name="tried_index")),
    AddBeginningIndex("organization", field="name", name="tried_index"),
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def no_index_stays():
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX IF EXISTS tried_index")


def names_of_indexes():
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, TABLE))


def states():
    from django.apps import apps

    before = ProjectState.from_apps(apps)
    return before, before.clone()


@pytest.mark.long
@pytest.mark.usefixtures("no_index_stays")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: type(operation).__name__)
def test_index_is_made_and_taken_back(operation):
    before, after = states()
    operation.state_forwards("accounts", after)
    # What an interrupted attempt leaves has the name already.
    if isinstance(operation, AddIndexConcurrently) or connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE INDEX tried_index ON {TABLE} (created_at)")
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("accounts", editor, before, after)
    is_made = isinstance(operation, AddIndexConcurrently) or connection.vendor == "postgresql"
    assert ("tried_index" in names_of_indexes()) is is_made
    with connection.schema_editor(atomic=False) as editor:
        operation.database_backwards("accounts", editor, after, before)
    assert "tried_index" not in names_of_indexes()


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite finds beginnings without an index")
def test_beginning_is_found_by_the_index():
    Organization.objects.create(name="100% Acme")
    found = Organization.objects.filter(name__istartswith="100% a")
    assert found.count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        try:
            assert "organizations_by_beginning" in found.explain()
        finally:
            cursor.execute("RESET enable_seqscan")


postgresql_alone = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite makes no index concurrently")


def make_index(operation):
    before, after = states()
    operation.state_forwards("accounts", after)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("accounts", editor, before, after)
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexrelid FROM pg_index WHERE indexrelid = to_regclass('tried_index') AND indisvalid")
        return cursor.fetchone()


@postgresql_alone
@pytest.mark.usefixtures("no_index_stays")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: type(operation).__name__)
def test_finished_index_stays_and_another_is_made_again(operation):
    first = make_index(operation)
    assert first is not None
    assert make_index(operation) == first
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s", first)
    assert make_index(operation) not in (first, None)


@postgresql_alone
@pytest.mark.usefixtures("no_index_stays")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: type(operation).__name__)
def test_index_waits_for_older_transactions_whatever_the_lock_timeout(operation):
    other = connection.get_new_connection(connection.get_connection_params())
    other.execute(f"BEGIN; LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
    ends = threading.Timer(1.0, other.close)
    ends.start()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
            assert make_index(operation) is not None
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("200ms",)
            cursor.execute("RESET lock_timeout")
    finally:
        ends.join()
