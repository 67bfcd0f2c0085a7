"""What one key gives another of its monthly limit. What it has spent counts: tests/billing/test_key_api.py."""

import pytest
from django.db import transaction

from accounts import api_keys
from accounts.errors import Forbidden
from billing import ledger


def test_key_without_a_limit_gives_anything_and_loses_nothing(organization):
    giver, _ = api_keys.issue(organization, name="giver", by=None)
    for amount in (None, 0, 10**12):
        with transaction.atomic():
            ledger.give_limit(giver, amount_micros=amount)
    giver.refresh_from_db()
    assert giver.monthly_limit_micros is None


@pytest.mark.parametrize(("amount", "left"), [(0, 5), (5, 0), (6, 5), (None, 5)])
def test_limited_key_gives_at_most_what_it_has(organization, amount, left):
    giver, _ = api_keys.issue(organization, name="giver", by=None, monthly_limit_micros=5)
    with transaction.atomic():
        if amount is None or amount > 5:
            with pytest.raises(Forbidden, match=r"of which \$0\.000005 is left"):
                ledger.give_limit(giver, amount_micros=amount)
        else:
            ledger.give_limit(giver, amount_micros=amount)
    giver.refresh_from_db()
    assert giver.monthly_limit_micros == left
