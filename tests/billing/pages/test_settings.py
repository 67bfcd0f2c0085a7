"""Limits, low-balance mail, automatic top-up and the saved card."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys
from billing import automatic_topups, ledger, spend_alerts
from billing.models import Wallet
from billing.models.payments import AutomaticTopUp, SavedCard, TopUpState
from tests.billing.charges import charge
from tests.billing.stripe_objects import make_topup


@pytest.fixture
def browser(alice, organization, client_of):
    return client_of(alice)


@pytest.fixture
def card(organization):
    return SavedCard.objects.create(
        organization=organization,
        payment_method_id="pm_1",
        brand="visa",
        last4="4242",
        expires_month=8,
        expires_year=2029,
    )


def wallet_of(organization):
    return Wallet.objects.of(organization).get()


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_limit_is_set_shown_kept_and_lifted(browser, organization):
    charge(organization, 250_000)
    ledger.reserve(organization, amount_micros=50_000, reference="job:running")
    response = browser.post("/billing/settings/limit/", {"monthly_limit": "0.75"}, follow=True)
    page = response.content.decode()
    assert wallet_of(organization).monthly_limit_micros == 750_000
    assert "Monthly limit set to $0.75." in page
    assert "$0.30 is spent or reserved, $0.45 is left" in page
    with pytest.raises(ledger.SpendLimitReached):
        ledger.reserve(organization, amount_micros=450_001, reference="job:too-much")
    browser.post("/billing/settings/limit/", {"monthly_limit": ""})
    assert wallet_of(organization).monthly_limit_micros is None


def test_limit_of_nothing_stops_all_spending(browser, organization):
    page = browser.post("/billing/settings/limit/", {"monthly_limit": "0"}, follow=True).content.decode()
    assert "Spending is blocked. Free requests still work." in page
    assert "set to $0.00" not in page
    with pytest.raises(ledger.SpendLimitReached):
        ledger.reserve(organization, amount_micros=1, reference="job:1")


@pytest.mark.parametrize("amount", ["-1", "x", "1.001", "1000001", "NaN", "Infinity"])
def test_odd_limit_changes_nothing_and_is_explained_in_its_place(browser, organization, amount):
    ledger.set_monthly_limit(organization, limit_micros=5_000_000)
    response = browser.post("/billing/settings/limit/", {"monthly_limit": amount})
    assert response.status_code == 400
    assert 'id="id_monthly_limit_error"' in response.content.decode()
    assert wallet_of(organization).monthly_limit_micros == 5_000_000


@pytest.mark.long
def test_raised_limit_counts_to_the_end_of_its_day_and_ends_by_itself(alice, browser, organization, client_of):
    fields = {"monthly_limit": "0.5", "raised_limit": "40", "raised_on": "2026-12-31"}
    with time_machine.travel("2026-12-30 12:00", tick=False):
        page = client_of(alice).post("/billing/settings/limit/", fields, follow=True).content.decode()
        assert "Monthly limit set to $40.00 until the end of 31 Dec 2026, then $0.50." in page
        assert "The limit is $40.00 until 1 January, 00:00." in page
        assert 'value="2026-12-31"' in page
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    assert wallet_of(organization).limit_at(ends - timedelta(seconds=1)) == 40_000_000
    with time_machine.travel(ends, tick=False):
        page = client_of(alice).get("/billing/settings/", follow=True).content.decode()
        assert "$40.00" not in page
        with pytest.raises(ledger.SpendLimitReached):
            ledger.reserve(organization, amount_micros=500_001, reference="job:too-much")


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"raised_on": ""}, "raised_on"),
        ({"raised_on": "2020-01-01"}, "raised_on"),
        ({"raised_limit": ""}, "raised_limit"),
        ({"raised_limit": "1.99"}, "raised_limit"),
        ({"monthly_limit": ""}, "raised_limit"),
    ],
)
def test_raise_that_is_none_leaves_limit_and_raise_as_they_were(browser, organization, changes, field):
    soon = timezone.now() + timedelta(days=3)
    ledger.set_monthly_limit(organization, limit_micros=5_000_000)
    ledger.raise_monthly_limit(organization, limit_micros=6_000_000, until=soon)
    fields = {"monthly_limit": "2", "raised_limit": "40", "raised_on": soon.date(), **changes}
    response = browser.post("/billing/settings/limit/", fields)
    assert response.status_code == 400
    assert f'id="id_{field}_error"' in response.content.decode()
    wallet = wallet_of(organization)
    assert (wallet.monthly_limit_micros, wallet.raised_limit_micros) == (5_000_000, 6_000_000)


# --- Alerts ----------------------------------------------------------------------------------------------------------


def test_alerts_of_the_organization_and_of_a_key_are_apart(browser, organization):
    key, _ = api_keys.issue(organization, name="production", by=None)
    page = browser.post("/billing/settings/alerts/", {"percents": "100, 50 80%"}, follow=True).content.decode()
    assert "Owners get an email when 50, 80, 100 % of the monthly limit is spent." in page
    assert 'value="50, 80, 100"' in page
    page = browser.post(f"/billing/keys/{key.pk}/alerts/", {"percents": "90"}, follow=True).content.decode()
    assert 'value="90"' in page
    assert spend_alerts.percents_of(organization) == {None: [50, 80, 100], key.pk: [90]}
    browser.post("/billing/settings/alerts/", {"percents": ""})
    assert spend_alerts.percents_of(organization) == {key.pk: [90]}


@pytest.mark.long
@pytest.mark.parametrize("percents", ["0", "101", "-5", "50.5", "half", "²", "1 2 3 4 5 6 7 8 9 10 11", "9" * 90])
def test_odd_alerts_change_nothing_and_are_explained(browser, organization, percents):
    key, _ = api_keys.issue(organization, name="production", by=None)
    for api_key in (None, key):
        spend_alerts.set_percents(organization, api_key=api_key, percents=[70])
    response = browser.post("/billing/settings/alerts/", {"percents": percents})
    assert response.status_code == 400
    assert "whole numbers from 1 to 100" in response.content.decode()
    page = browser.post(f"/billing/keys/{key.pk}/alerts/", {"percents": percents}, follow=True).content.decode()
    assert "Alerts not changed." in page
    assert spend_alerts.percents_of(organization) == {None: [70], key.pk: [70]}


def test_member_and_stranger_set_neither_raise_nor_alerts(bob, charlie, organization, client_of):
    key, _ = api_keys.issue(organization, name="production", by=None)
    for path in ("settings/alerts/", "settings/limit/", f"keys/{key.pk}/alerts/"):
        for client, status in ((client_of(bob), 403), (client_of(charlie), 404)):
            assert client.post(f"/o/{organization.pk}/billing/{path}", {"percents": "5"}).status_code == status
    assert client_of(charlie).post(f"/billing/keys/{key.pk}/alerts/", {"percents": "5"}).status_code == 404
    assert spend_alerts.percents_of(organization) == {}


def test_settings_ask_12_queries_at_most(browser, organization, card, django_assert_max_num_queries):
    path = f"/o/{organization.pk}/billing/settings/"
    browser.get(path)
    with django_assert_max_num_queries(12):
        browser.get(path)


# --- Low balance -----------------------------------------------------------------------------------------------------


def test_low_balance_mail_is_set_and_lifted(browser, organization):
    browser.post("/billing/settings/low-balance/", {"threshold": "5"})
    assert wallet_of(organization).low_balance_micros == 5_000_000
    browser.post("/billing/settings/low-balance/", {"threshold": ""})
    assert wallet_of(organization).low_balance_micros is None


@pytest.mark.parametrize("amount", ["0", "-1", "x"])
def test_odd_threshold_changes_nothing(browser, organization, amount):
    assert browser.post("/billing/settings/low-balance/", {"threshold": amount}).status_code == 400
    assert wallet_of(organization).low_balance_micros is None


# --- Automatic top-up ------------------------------------------------------------------------------------------------

AUTOMATIC_SETTINGS = {"threshold": "10", "mode": "by", "amount": "50", "monthly_cap": "200"}


def test_automatic_topup_is_turned_on_changed_and_off(browser, organization, card):
    page = browser.post("/billing/settings/automatic/", AUTOMATIC_SETTINGS, follow=True).content.decode()
    topup_settings = automatic_topups.settings_of(organization)
    assert (
        topup_settings.is_on,
        topup_settings.threshold_cents,
        topup_settings.amount_cents,
        topup_settings.monthly_cap_cents,
    ) == (True, 1_000, 5_000, 20_000)
    for text in ("When less than <strong>$10.00</strong>", "Visa ending in 4242", "08/2029"):
        assert text in page
    browser.post("/billing/settings/automatic/off/")
    assert not automatic_topups.settings_of(organization).is_on


def test_automatic_topup_to_a_target_says_what_it_charges_and_the_bonus(browser, organization, card):
    to_target = {**AUTOMATIC_SETTINGS, "mode": "to", "amount": "215"}
    page = browser.post("/billing/settings/automatic/", to_target, follow=True).content.decode()
    topup_settings = automatic_topups.settings_of(organization)
    assert (topup_settings.is_on, topup_settings.target_cents) == (True, 21_500)
    for text in (
        "so that <strong>$215.00</strong>",
        "With $10.00 left, that is a charge of $200.00 plus $10.00 bonus.",
    ):
        assert text in page
    assert '<option value="to" selected>' in page
    assert 'value="215' in page
    browser.post("/billing/settings/automatic/", AUTOMATIC_SETTINGS)
    assert automatic_topups.settings_of(organization).target_cents is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": "10"}, "amount"),
        ({"amount": "14.99"}, "amount"),
        ({"threshold": "1000"}, "amount"),
        ({"monthly_cap": "39.99"}, "monthly_cap"),
        ({"mode": "both"}, "mode"),
        ({"mode": ""}, "mode"),
    ],
)
def test_target_that_cannot_be_is_refused_in_its_place(browser, organization, card, changes, field):
    to_target = {**AUTOMATIC_SETTINGS, "mode": "to", **changes}
    response = browser.post("/billing/settings/automatic/", to_target)
    assert response.status_code == 400
    assert f'id="id_{field}_error"' in response.content.decode()
    assert not automatic_topups.settings_of(organization).is_on


def test_reached_cap_is_not_called_a_declined_card(browser, organization, card, stripe_sandbox):
    browser.post("/billing/settings/automatic/", {**AUTOMATIC_SETTINGS, "monthly_cap": "50"})
    make_topup(
        organization, 1_000, is_automatic=True, state=TopUpState.PAID, paid_at=timezone.now(), ended_at=timezone.now()
    )
    assert automatic_topups.run() == 0
    page = browser.get("/billing/settings/").content.decode()
    assert "Another one would go over" in page
    assert "declined" not in page


def test_declined_card_is_told_until_it_is_tried_again(browser, organization, card):
    browser.post("/billing/settings/automatic/", AUTOMATIC_SETTINGS)
    wishes = AutomaticTopUp.objects.filter(organization=organization)
    # Not the start of a month, which would mean that it waits for the next cap.
    now = timezone.now().replace(microsecond=1)
    wishes.update(declines_count=1, retry_at=now + timedelta(hours=1))
    page = browser.get("/billing/settings/").content.decode()
    assert "The card was declined. We try again" in page
    assert "Another one would" not in page
    # A top-up by hand made a second attempt unnecessary.
    wishes.update(retry_at=now - timedelta(days=3))
    assert "try again" not in browser.get("/billing/settings/").content.decode()


def test_each_label_leads_to_its_own_field(browser, organization, card):
    page = browser.get("/billing/settings/").content.decode()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<label for="([^"]+)"', page)) <= set(ids)


def test_automatic_topup_needs_a_card(browser, organization):
    response = browser.post("/billing/settings/automatic/", AUTOMATIC_SETTINGS)
    assert response.status_code == 400
    assert "Save a card first" in response.content.decode()
    assert not automatic_topups.settings_of(organization).is_on


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"threshold": "0.50"}, "threshold"),
        ({"threshold": "5000"}, "threshold"),
        ({"amount": "4.99"}, "amount"),
        ({"amount": "1000.01"}, "amount"),
        ({"monthly_cap": "49.99"}, "monthly_cap"),
        ({"monthly_cap": ""}, "monthly_cap"),
        ({"monthly_cap": "999999"}, "monthly_cap"),
    ],
)
def test_invalid_setting_or_without_a_cap_is_refused_in_its_place(browser, organization, card, changes, field):
    response = browser.post("/billing/settings/automatic/", {**AUTOMATIC_SETTINGS, **changes})
    assert response.status_code == 400
    assert f'id="id_{field}_error"' in response.content.decode()
    assert not automatic_topups.settings_of(organization).is_on


def test_removed_card_is_forgotten_and_automatic_topup_ends(alice, browser, organization, stripe_sandbox):
    from tests.billing.pages.test_top_ups import start

    topup = start(browser, save_card="on")
    stripe_sandbox.pay(topup.checkout_session_id, save_card=True)
    stripe_sandbox.deliver()
    browser.get(f"/billing/top-up/{topup.pk}/success/")
    assert SavedCard.objects.of(organization).exists()
    browser.post("/billing/settings/automatic/", AUTOMATIC_SETTINGS)
    assert automatic_topups.settings_of(organization).is_on
    page = browser.post("/billing/settings/card/remove/", follow=True).content.decode()
    assert "Card removed" in page
    assert not SavedCard.objects.of(organization).exists()
    assert not automatic_topups.settings_of(organization).is_on


@pytest.mark.long
def test_card_that_stripe_keeps_for_now_is_gone_here_and_the_page_says_so(browser, organization, stripe_sandbox):
    from tests.billing.pages.test_top_ups import start
    from tests.billing.test_saved_cards import refusing

    topup = start(browser, save_card="on")
    stripe_sandbox.pay(topup.checkout_session_id, save_card=True)
    stripe_sandbox.deliver()
    with refusing():
        page = browser.post("/billing/settings/card/remove/", follow=True).content.decode()
    assert "Stripe has not deleted it yet; we will keep trying." in page
    assert not SavedCard.objects.of(organization).exists()


def test_strangers_settings_are_theirs(charlie, charlies, organization, client_of, card):
    client = client_of(charlie)
    client.post("/billing/settings/limit/", {"monthly_limit": "1"})
    client.post("/billing/settings/automatic/", AUTOMATIC_SETTINGS)
    client.post("/billing/settings/card/remove/")
    assert wallet_of(organization).monthly_limit_micros is None
    assert not automatic_topups.settings_of(organization).is_on
    assert SavedCard.objects.of(organization).exists()
    assert "ending in 4242" not in client.get("/billing/settings/").content.decode()
