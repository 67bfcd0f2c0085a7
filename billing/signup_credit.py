"""The credit that a new customer starts with."""

from django.conf import settings

from accounts.models import Organization, Role
from billing import ledger, money
from billing.models import Entry, EntryKind


def grant(organization: Organization) -> Entry | None:
    """Give a person's first organization the sign-up credit. Returns None where none is given.

    Not to others that they make, or each would be worth a dollar (docs/decisions/0002).
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
