"""The link for a person whose request was refused for lack of money."""

import pytest

from accounts.errors import Conflict, PaymentRequired
from billing import ledger, next_step
from billing.models import EntryKind
from tests.billing.charges import charge
from tests.billing.conftest import fund


def refusal(organization, micros, **fields):
    with pytest.raises(PaymentRequired) as caught:
        ledger.reserve(organization, amount_micros=micros, reference="job:refused", **fields)
    return caught.value


def test_shortfall_leads_to_topping_up_at_least_that(acme):
    fund(acme, 1_000_000)
    way = next_step.after(refusal(acme, 1_350_001))
    assert (way.url, way.text) == ("/billing/top-up/?needed=36", "Top up $0.36 or more")


def test_limit_of_the_organization_leads_to_the_limit_and_not_to_paying(acme):
    fund(acme, 1_000_000)
    ledger.set_monthly_limit(acme, limit_micros=5)
    assert next_step.after(refusal(acme, 6)).url == "/billing/settings/#limit"


def test_debt_leads_to_paying_it_and_a_dispute_does_not(acme, rival):
    fund(acme, 1_000_000)
    charge(acme, 250_000)
    ledger.claw_back(acme, amount_micros=1_000_000, kind=EntryKind.REFUND, reference="refund:re_1")
    assert next_step.after(refusal(acme, 6)).url == "/billing/top-up/?needed=25"
    fund(rival, 1_000_000)
    ledger.freeze(rival, reason="dispute:dp_1")
    assert next_step.after(refusal(rival, 6)).url == "/billing/"


def test_other_refusals_have_no_next_step():
    assert next_step.after(Conflict("This job has ended.")) is None


def test_refusal_without_figures_leads_to_the_balance():
    assert next_step.after(PaymentRequired("No.")).url == "/billing/"


def test_script_gets_the_link_only_for_who_may_pay(acme):
    error = refusal(acme, 10_000)
    assert next_step.as_json(error, may_pay=True) == {
        "url": "/billing/top-up/?needed=1",
        "text": "Top up $0.01 or more",
    }
    assert next_step.as_json(error, may_pay=False) is None
    assert next_step.as_json(Conflict("Not about money."), may_pay=True) is None
