"""Migrations on databases that are in use."""

from django.db import connection

from accounts.models import Organization
from billing.models.payments import TopUp
from tests.billing.stripe_objects import make_topup


def test_process_of_the_version_before_can_still_begin_a_topup(acme: Organization) -> None:
    """One that was not stopped for the upgrade: its INSERT names the columns that it knows."""
    topup = make_topup(acme)
    new = {"invoice_id", "invoice_due_at"}
    known = [field.column for field in TopUp._meta.concrete_fields if field.column not in new]
    names = ", ".join(known)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM billing_topup")
        row = cursor.fetchone()
        cursor.execute("DELETE FROM billing_topup")
        cursor.execute(f"INSERT INTO billing_topup ({names}) VALUES ({', '.join(['%s'] * len(known))})", row)
    again = TopUp.objects.get()
    assert (again.pk, again.invoice_id, again.invoice_due_at) == (topup.pk, "", None)
