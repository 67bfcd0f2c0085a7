"""The book cannot be changed, by any means that the database knows."""

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import Organization
from billing import triggers
from billing.models import Entry
from tests.billing.append_only import triggers_suspended
from tests.billing.conftest import fund, money_of

on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite only")
on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL only")


@pytest.fixture
def entry(acme: Organization) -> Entry:
    fund(acme, 5_000, reference="test:1")
    return Entry.objects.get(reference="test:1")


def refuses(statement: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_orm_cannot_change_an_entry(entry: Entry) -> None:
    entry.amount_micros = 6_000
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        entry.save()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Entry.objects.filter(pk=entry.pk).update(description="other")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Entry.objects.bulk_update([entry], ["amount_micros"])
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Entry.objects.bulk_create([entry], update_conflicts=True, unique_fields=["id"], update_fields=["amount_micros"])
    assert Entry.objects.get().amount_micros == 5_000


def test_orm_cannot_remove_an_entry(entry: Entry, acme: Organization) -> None:
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        entry.delete()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Entry.objects.all().delete()
    assert money_of(acme) == (5_000, 0)


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize(
    "statement",
    ["UPDATE billing_entry SET amount_micros = 1", "UPDATE billing_entry SET id = id", "DELETE FROM billing_entry"],
)
def test_sql_cannot_change_or_remove_an_entry(statement: str) -> None:
    refuses(statement)


@on_sqlite
@pytest.mark.parametrize("same", ["id", "reference"])
def test_sql_cannot_replace_an_entry(entry: Entry, same: str) -> None:
    number, reference = (entry.pk, "test:2") if same == "id" else (entry.pk + 1, entry.reference)
    columns = "id, wallet_id, kind, reference, amount_micros, balance_after_micros, description, details, created_at"
    refuses(
        f"INSERT OR REPLACE INTO billing_entry ({columns})"
        f" SELECT {number}, wallet_id, kind, '{reference}', 1, 1, '', '{{}}', created_at FROM billing_entry"
    )


@on_postgresql
@pytest.mark.usefixtures("entry")
def test_sql_cannot_truncate() -> None:
    # Foreign keys are checked at commit; what waits for that would hinder the TRUNCATE before our trigger does.
    connection.check_constraints()
    # CASCADE, because tags refer to entries: without it PostgreSQL refuses by itself.
    refuses("TRUNCATE billing_entry CASCADE")
    refuses("TRUNCATE billing_wallet CASCADE")


def test_triggers_can_be_dropped_and_made_again(entry: Entry) -> None:
    with triggers_suspended():
        Entry.objects.filter(pk=entry.pk).update(description="changed")
    triggers.create(connection)
    refuses("DELETE FROM billing_entry")
    triggers.drop(connection)
    triggers.drop(connection)
    entry.delete()
    triggers.create(connection)


@pytest.mark.django_db(transaction=True)
def test_transactional_test_leaves_the_triggers_behind(acme: Organization) -> None:
    fund(acme, 1)
