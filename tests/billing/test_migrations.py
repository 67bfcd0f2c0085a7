"""Migrations on databases that are in use."""

import io

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection

from accounts.models import Organization, User
from billing.models.payments import TopUp, UnmatchedEvent
from tests.billing.stripe_objects import make_topup


def test_process_of_the_version_before_can_still_begin_a_topup(acme: Organization) -> None:
    """Its INSERT names only the columns that it knows."""
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


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_table_of_unmatched_events_keeps_its_name_and_is_not_altered() -> None:
    """A process of the version before still reads and writes it by that name."""
    for is_backward in (False, True):
        statements = io.StringIO()
        call_command("sqlmigrate", "billing", "0016", backwards=is_backward, stdout=statements, no_color=True)
        lines = statements.getvalue().splitlines()
        assert {line.rstrip(";") for line in lines if line and not line.startswith("--")} <= {"BEGIN", "COMMIT"}
    assert UnmatchedEvent._meta.db_table == "billing_parkedevent"


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_operator_keeps_the_right_to_resolve_unmatched_events() -> None:
    operator = User.objects.create_user("operator@example.com")
    operator.user_permissions.set(Permission.objects.filter(codename__endswith="_unmatchedevent"))
    event = UnmatchedEvent.objects.create(subject="refund", stripe_id="re_1", reason="wrong_amount", explanation="No.")
    try:
        call_command("migrate", "billing", "0015", verbosity=0)
        assert set(operator.user_permissions.values_list("codename", flat=True)) == {
            f"{action}_parkedevent" for action in ("add", "change", "delete", "view")
        }
    finally:
        call_command("migrate", "billing", verbosity=0)
    names = operator.user_permissions.order_by("codename").values_list("codename", "name", "content_type__model")
    assert list(names) == [
        (f"{action}_unmatchedevent", f"Can {action} unmatched event", "unmatchedevent")
        for action in ("add", "change", "delete", "view")
    ]
    assert not ContentType.objects.filter(app_label="billing", model="parkedevent").exists()
    assert UnmatchedEvent.objects.get() == event
