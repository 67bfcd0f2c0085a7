"""The sign-up credit of a new customer: who gets one. It expires with the balance (`expiry`)."""

from collections.abc import Iterable

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac

from accounts.models import Organization, Role, User
from billing import ledger, money
from billing.models import CreditedAddress, Entry, EntryKind, EntryQuerySet


def grant(organization: Organization) -> Entry | None:
    """Credit a person's first verified organization. Returns the entry, or None if no credit is due.

    Further organizations of the same person get none. Otherwise each new one would bring the credit again
    (docs/decisions/0002). Neither does a person who deleted an account and comes back with an address of it
    (docs/decisions/0075).
    """
    amount_micros = settings.SIGNUP_CREDIT_CENTS * money.MICROS_PER_CENT
    owner = organization.memberships.filter(role=Role.OWNER).order_by("created_at", "pk").first()
    if amount_micros == 0 or owner is None or _entry_of(owner.user_id).exists():
        return None
    addresses = _proved_addresses(owner.user) or [owner.user.email]
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    known = {_digest(address, secret=secret) for address in addresses for secret in secrets}
    if CreditedAddress.objects.filter(pk__in=known).exists():
        return None
    with transaction.atomic():
        _remember(addresses)
        return ledger.credit(
            organization,
            amount_micros=amount_micros,
            kind=EntryKind.CREDIT,
            reference=f"signup:{owner.user_id}",
            description="Sign-up credit",
        )


def remember_addresses(user: User) -> None:
    """Remember the addresses of a person who got the credit, before they are deleted.

    Only those that they proved: somebody else's address is not theirs to use up.
    """
    if _entry_of(user.pk).exists():
        _remember(_proved_addresses(user))


def _remember(addresses: Iterable[str]) -> None:
    rows = [CreditedAddress(digest=_digest(address, secret=settings.SECRET_KEY)) for address in addresses]
    CreditedAddress.objects.bulk_create(rows, ignore_conflicts=True)


def _entry_of(user_id: int) -> EntryQuerySet:
    return Entry.objects.filter(kind=EntryKind.CREDIT, reference=f"signup:{user_id}")


def _proved_addresses(user: User) -> list[str]:
    return list(EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True))


def _digest(address: str, *, secret: str) -> str:
    """Return the digest of an address. Its case does not count, as in sign-up."""
    return salted_hmac("billing.signup_credit", address.strip().lower(), secret=secret, algorithm="sha256").hexdigest()
