"""Constraints of top-ups."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.models import Organization
from billing.models.payments import TopUp, TopUpState
from tests.billing.stripe_objects import make_topup

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields", [{"state": TopUpState.PENDING}, {"state": TopUpState.PAID, "paid_at": NOW, "is_automatic": False}]
)
def test_only_a_paid_automatic_topup_waits_for_an_invoice(acme: Organization, fields: dict[str, Any]) -> None:
    topup = make_topup(acme, **{"is_automatic": True, **fields})
    with pytest.raises(IntegrityError, match="only_paid_automatic_topup_awaits_invoice"), transaction.atomic():
        TopUp.objects.filter(pk=topup.pk).update(invoice_due_at=NOW)
