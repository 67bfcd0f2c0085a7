"""What workers do at once to the same payment, for test_payments_contention, which imports no pytest either."""

from collections import Counter

from accounts.errors import Conflict, InvalidField, PaymentRequired
from accounts.models import Organization, User
from billing import automatic_topups, invoices, ledger, refunds, stripe_mapping, topups
from billing.models.payments import TopUp, UnmatchedEvent
from tests.billing.stripe_objects import deliver, event_of, intent_of, session_of
from tests.contention import WORKER_COUNT

DELIVERIES = 50


def deliveries(organization: Organization, worker: int) -> Counter[str]:
    """All workers together deliver the same event 50 times."""
    event = event_of("checkout.session.completed", session_of(TopUp.objects.get()), event_id="evt_once")
    seen: Counter[str] = Counter()
    for _ in range(worker, DELIVERIES, WORKER_COUNT):
        seen[str(deliver(event))] += 1
    return seen


def arrivals(organization: Organization, worker: int) -> Counter[str]:
    """Process the payment at the same time by its event, by other events about it, and by the success page."""
    topup = TopUp.objects.get()
    seen: Counter[str] = Counter()
    for _ in range(3):
        if worker % 3 == 0:
            seen[str(deliver(event_of("checkout.session.completed", session_of(topup))))] += 1
        elif worker % 3 == 1:
            seen[str(deliver(event_of("payment_intent.succeeded", intent_of(topup))))] += 1
        else:
            fulfilled = topups.fulfil(stripe_mapping.payment_of_checkout(session_of(topup)))
            seen["paid" if fulfilled and fulfilled.is_paid else "not paid"] += 1
    return seen


def refund_or_job(organization: Organization, worker: int) -> Counter[str]:
    """Half of the workers ask for $50 of the payment back, the others reserve $50 for work."""
    try:
        if worker % 2:
            refunds.request(TopUp.objects.get(), person=User.objects.get(), amount_cents=5_000)
            return Counter(refunded=1)
        ledger.reserve(organization, amount_micros=50_000_000, reference=f"job:{worker}")
        return Counter(admitted=1)
    except (Conflict, InvalidField, PaymentRequired):
        return Counter(refused=1)


def clocks(organization: Organization, worker: int) -> Counter[str]:
    """Make the due invoice: half of the workers claim it, the others act as clocks whose claim has expired."""
    automatic = TopUp.objects.filter(is_automatic=True)
    if worker % 2:
        invoices.make_due()
        return Counter(clock=1)
    invoices._make(automatic.get())
    done = automatic.filter(invoice_due_at=None).exclude(invoice_id="").exclude(invoice_url="")
    return Counter(linked=done.count(), unmatched=UnmatchedEvent.objects.count())


def automatic_clocks(organization: Organization, worker: int) -> Counter[str]:
    """Run the duty of automatic top-up, as the clocks of several hosts would."""
    return Counter(started=automatic_topups.run())
