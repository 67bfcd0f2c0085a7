"""The banners on the overview and the billing page."""

from datetime import UTC, datetime

import pytest
import time_machine

from billing import automatic_topups, ledger
from billing.models import EntryKind, Wallet
from billing.models.payments import AutomaticTopUp
from billing.pages.banners import money_banners
from tests.billing.charges import charge
from tests.billing.conftest import fund

NOON = datetime(2026, 4, 19, 12, 0, tzinfo=UTC)


def titles(organization):
    return [banner.title for banner in money_banners(organization)]


def test_all_is_well_says_nothing(acme):
    assert money_banners(acme) == []
    fund(acme, 1_000_000)
    assert money_banners(acme) == []


def test_debt_names_what_is_missing_and_leads_to_paying_it(acme):
    fund(acme, 10_000_000)
    charge(acme, 4_000_000)
    ledger.claw_back(acme, amount_micros=10_000_000, kind=EntryKind.REFUND, reference="refund:re_1")
    (banner,) = money_banners(acme)
    assert banner.level == "bad"
    assert "you owe $4.00" in banner.text
    assert banner.url == f"/o/{acme.pk}/billing/top-up/?needed=400"


def test_dispute_does_not_ask_for_money(acme):
    fund(acme, 10_000_000)
    ledger.claw_back(acme, amount_micros=1_000_000, kind=EntryKind.DISPUTE, reference="dispute:dp_1")
    (banner,) = money_banners(acme)
    assert banner.title == "Your account is on hold."
    assert "disputed" in banner.text
    assert banner.url == "mailto:hello@localhost"


def test_debt_of_a_dispute_does_not_ask_for_money_that_would_not_end_it(acme):
    fund(acme, 10_000_000)
    charge(acme, 4_000_000)
    ledger.claw_back(acme, amount_micros=10_000_000, kind=EntryKind.DISPUTE, reference="dispute:dp_1")
    (banner,) = money_banners(acme)
    assert "you owe $4.00" in banner.text
    assert banner.url == "mailto:hello@localhost"
    # The dispute is lost and an operator has lifted its freeze: only the debt is left.
    ledger.thaw(acme, reason="dispute:dp_1")
    (banner,) = money_banners(acme)
    assert banner.url == f"/o/{acme.pk}/billing/top-up/?needed=400"


@pytest.mark.parametrize(
    ("day", "is_near"), [(datetime(2026, 9, 18, tzinfo=UTC), False), (datetime(2026, 9, 20, tzinfo=UTC), True)]
)
def test_expiry_is_announced_thirty_days_before(acme, day, is_near):
    with time_machine.travel(NOON, tick=False):
        fund(acme, 12_340_000)
    with time_machine.travel(day, tick=False):
        assert titles(acme) == (["$12.34 expires on 19 October 2026."] if is_near else [])


def test_expired_balance_is_said_until_money_comes(acme):
    with time_machine.travel(NOON, tick=False):
        fund(acme, 12_340_000)
    with time_machine.travel(datetime(2026, 12, 1, tzinfo=UTC), tick=False):
        ledger.expire(acme, inactive_since=datetime(2026, 6, 1, tzinfo=UTC))
        assert titles(acme) == ["Your balance expired."]
        fund(acme, 1_000_000)
        assert titles(acme) == []


def test_reached_limit_says_when_it_ends(acme):
    fund(acme, 10_000_000)
    ledger.set_monthly_limit(acme, limit_micros=1_000_000)
    with time_machine.travel(datetime(2026, 11, 20, tzinfo=UTC), tick=False):
        charge(acme, 999_999)
        assert titles(acme) == []
        charge(acme, 1)
        (banner,) = money_banners(acme)
    assert banner.title == "The monthly limit is reached."
    assert "1 December" in banner.text


def test_limit_below_what_was_spent_is_not_called_what_was_spent(acme):
    fund(acme, 10_000_000)
    charge(acme, 4_000_000)
    ledger.set_monthly_limit(acme, limit_micros=1_000_000)
    (banner,) = money_banners(acme)
    assert "$4.00 is spent or reserved" in banner.text
    assert "the limit is $1.00" in banner.text


def test_limit_of_nothing_is_not_said_to_end_with_the_month(acme):
    fund(acme, 10_000_000)
    ledger.set_monthly_limit(acme, limit_micros=0)
    (banner,) = money_banners(acme)
    assert banner.title == "Spending is blocked."
    assert "resets" not in banner.text
    assert banner.url.endswith("/billing/settings/#limit")


def test_automatic_topup_that_we_turned_off_is_said(acme):
    fund(acme, 10_000_000)
    AutomaticTopUp.objects.create(organization=acme, turned_off_reason=automatic_topups.THREE_DECLINES)
    (banner,) = money_banners(acme)
    assert banner.text == automatic_topups.THREE_DECLINES


def test_low_balance_is_said_below_the_own_threshold(acme):
    fund(acme, 6_000_000)
    ledger.set_low_balance(acme, threshold_micros=5_000_000)
    assert titles(acme) == []
    charge(acme, 1_500_000)
    assert Wallet.objects.of(acme).get().low_since is not None
    assert titles(acme) == ["Less than $5.00 is left."]


@pytest.mark.long
@pytest.mark.parametrize("path", ["/billing/", "/overview/"])
def test_everybody_reads_it_but_only_who_may_pay_is_led_to_paying(alice, bob, organization, client_of, path):
    charge(organization, 400_000)
    ledger.claw_back(organization, amount_micros=1_000_000, kind=EntryKind.REFUND, reference="refund:re_1")
    for person, may_pay in ((alice, True), (bob, False)):
        page = client_of(person).get(path).content.decode()
        assert "Your account is on hold." in page
        assert ("/billing/top-up/?needed=40" in page) is may_pay
