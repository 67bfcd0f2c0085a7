"""The link for a person whose request was refused for lack of money."""

import pytest

from accounts.errors import Conflict, PaymentRequired
from accounts.models import Membership, Role
from billing import ledger, next_step
from billing.models import EntryKind
from tests.billing.charges import charge
from tests.billing.conftest import fund


def refusal(organization, micros, **fields):
    with pytest.raises(PaymentRequired) as caught:
        ledger.reserve(organization, amount_micros=micros, reference="job:refused", **fields)
    return caught.value


def after(error, organization):
    return next_step.after(error, organization_id=organization.pk)


def test_shortfall_leads_to_topping_up_at_least_that(acme):
    fund(acme, 1_000_000)
    way = after(refusal(acme, 1_350_001), acme)
    assert (way.url, way.text) == (f"/o/{acme.pk}/billing/top-up/?needed=36", "Top up $5.00 or more")


def test_limit_of_the_organization_leads_to_the_limit_and_not_to_paying(acme):
    fund(acme, 1_000_000)
    ledger.set_monthly_limit(acme, limit_micros=5)
    assert after(refusal(acme, 6), acme).url == f"/o/{acme.pk}/billing/settings/#limit"


def test_debt_leads_to_paying_it_and_a_dispute_does_not(acme, rival):
    fund(acme, 1_000_000)
    charge(acme, 250_000)
    ledger.claw_back(acme, amount_micros=1_000_000, kind=EntryKind.REFUND, reference="refund:re_1")
    assert after(refusal(acme, 6), acme).url == f"/o/{acme.pk}/billing/top-up/?needed=25"
    fund(rival, 1_000_000)
    ledger.freeze(rival, reason="dispute:dp_1")
    assert after(refusal(rival, 6), rival).url == f"/o/{rival.pk}/billing/"


def test_other_refusals_have_no_next_step(acme):
    assert after(Conflict("This job has ended."), acme) is None


def test_refusal_without_figures_leads_to_the_balance(acme):
    assert after(PaymentRequired("No."), acme).url == f"/o/{acme.pk}/billing/"


def test_script_gets_the_link_only_for_who_may_pay(acme):
    error = refusal(acme, 10_000)
    owner, member = (Membership(organization=acme, role=role) for role in (Role.OWNER, Role.MEMBER))
    assert next_step.as_json(error, membership=owner) == {
        "url": f"/o/{acme.pk}/billing/top-up/?needed=1",
        "text": "Top up $5.00 or more",
    }
    assert next_step.as_json(error, membership=member) is None
    assert next_step.as_json(Conflict("Not about money."), membership=owner) is None


@pytest.mark.parametrize(
    ("missing_cents", "text"),
    [
        (1, "Top up $5.00 or more"),
        (500, "Top up $5.00 or more"),
        (501, "Top up $5.01 or more"),
        # With its bonus, $200 bring $210.
        (20_500, "Top up $200.00 or more"),
        (110_000, "Top up $1,000.00 or more"),
        # No payment brings so much.
        (110_001, "Top up"),
    ],
)
def test_link_names_the_least_payment_that_helps(missing_cents, text):
    assert next_step.top_up_text(missing_cents) == text
