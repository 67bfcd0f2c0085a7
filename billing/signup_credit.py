"""The sign-up credit of a new customer: who gets one. It expires with the balance (`expiry`)."""

from django.conf import settings

from accounts.models import Organization, Role
from billing import ledger, money
from billing.models import Entry, EntryKind


def grant(organization: Organization) -> Entry | None:
    """Credit a person's first verified organization. Returns the entry, or None if no credit is due.

    Further organizations of the same person get none. Otherwise each new one would bring the credit again
    (docs/decisions/0002).
    """
    amount_micros = settings.SIGNUP_CREDIT_CENTS * money.MICROS_PER_CENT
    owner = organization.memberships.filter(role=Role.OWNER).order_by("created_at", "pk").first()
    if amount_micros == 0 or owner is None:
        return None
    reference = f"signup:{owner.user_id}"
    if Entry.objects.filter(kind=EntryKind.CREDIT, reference=reference).exists():
        return None
    return ledger.credit(
        organization,
        amount_micros=amount_micros,
        kind=EntryKind.CREDIT,
        reference=reference,
        description="Sign-up credit",
    )
