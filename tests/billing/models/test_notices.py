"""Constraints of notices."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Organization
from billing import ledger
from billing.models import Notice


def test_one_notice_per_occasion(acme: Organization) -> None:
    fields = {"wallet": ledger.wallet_of(acme), "kind": "low_balance", "occasion_at": timezone.now()}
    Notice.objects.create(**fields)
    with pytest.raises(IntegrityError), transaction.atomic():
        Notice.objects.create(**fields)
