"""Equal orders at once are one job: the packages repeat an order whose answer takes too long."""

from collections import Counter

import pytest

from accounts import api_keys
from tests.billing.ledger.test_contention import KINDS
from tests.contention import contend
from tests.transcription.dialects.transcribeapi import creation_contention
from transcription.models import Job, Upload


@KINDS
@pytest.mark.django_db(transaction=True)
def test_equal_orders_at_once_are_one_job(organization, kind):
    _, key = api_keys.issue(organization, name="calls", by=None)
    seen = sum(contend(creation_contention.order, key, kind=kind, worker_count=3), Counter())
    assert len(seen) == Job.objects.count() == 1
    assert sum(seen.values()) == 3
    assert Upload.objects.count() == 2
