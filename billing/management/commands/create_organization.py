"""`manage.py create_organization`: create an organization with an owner, a credit and an API key, in one step."""

import uuid
from argparse import ArgumentParser
from typing import Any

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction

from accounts import api_keys, organizations
from accounts.errors import VoxsiteError
from accounts.models import Organization, Role, User
from billing import ledger, money
from billing.models import EntryKind

MAX_CREDIT_MICROS = 1_000_000 * money.MICROS_PER_DOLLAR


class Command(BaseCommand):
    help = (
        "Makes an organization with a verified owner and an API key, which is printed alone on the last line. "
        "Run again with the same name and owner, it makes another key for the same organization, "
        "and adds credit again only if --credit-dollars is given again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of the organization")
        parser.add_argument("--owner", metavar="EMAIL", required=True, help="e-mail address of its owner")
        parser.add_argument(
            "--credit-dollars", metavar="AMOUNT", default="0", help="credit to add, such as 20 or 0.50 (none)"
        )
        parser.add_argument("--key-name", metavar="KEY", default="operator", help="name of the API key (operator)")

    def handle(self, *_args: object, **options: Any) -> None:
        name = _read_name(options["name"])
        email = _read_email(options["owner"])
        credit_micros = _read_credit(str(options["credit_dollars"]))
        try:
            # One transaction: a run that fails can be repeated without giving the credit twice.
            with transaction.atomic():
                owner = _vouched_owner(email)
                organization, is_new = _organization(name, owner=owner)
                if credit_micros:
                    ledger.credit(
                        organization,
                        amount_micros=credit_micros,
                        kind=EntryKind.CREDIT,
                        reference=f"operator:{uuid.uuid4()}",
                        description="Credit from the operator",
                    )
                _, key = api_keys.issue(organization, name=options["key_name"], by=owner)
                balance_micros = ledger.wallet_of(organization).balance_micros
        except VoxsiteError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{'Made' if is_new else 'Found'} organization {organization.name} ({organization.pk}).")
        self.stdout.write(f"Owner: {owner.email}")
        self.stdout.write(f"Balance: {money.display_text(balance_micros)}")
        self.stdout.write("The API key, shown only this once:")
        self.stdout.write(key)


def _read_name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise CommandError("NAME must be 1 to 100 printable characters.")
    return name


def _read_email(text: str) -> str:
    email = text.strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise CommandError(f"--owner must be an e-mail address, not {text!r}.") from error
    return email


def _read_credit(text: str) -> int:
    try:
        micros = money.micros_from_dollars(text)
    except ValueError as error:
        raise CommandError(f"--credit-dollars must be an amount like 20 or 0.50, not {text!r}.") from error
    if micros > MAX_CREDIT_MICROS:
        raise CommandError(f"--credit-dollars may be at most {money.display_text(MAX_CREDIT_MICROS)}.")
    return micros


def _vouched_owner(email: str) -> User:
    """Return the user with this address, created if missing. Mark the address as verified: the operator knows it."""
    owner = User.objects.filter(email__iexact=email).first()
    if owner is None:
        owner = User.objects.create_user(email)
    if not owner.is_active:
        raise CommandError(f"{email} belongs to a person who was deactivated.")
    if EmailAddress.objects.filter(email__iexact=email, verified=True).exclude(user=owner).exists():
        raise CommandError(f"{email} is the proved address of another person.")
    address, _ = EmailAddress.objects.get_or_create(user=owner, email=owner.email)
    address.set_as_primary(conditional=True)
    if not address.verified:
        # Account pre-hijacking: somebody may have signed up with another person's address and knows the password. The
        # owner of the address sets a new one by mail.
        owner.set_unusable_password()
        owner.save(update_fields=["password"])
        address.verified = True
        address.save(update_fields=["verified"])
    return owner


def _organization(name: str, *, owner: User) -> tuple[Organization, bool]:
    """Return (organization, whether it is new): the owner's verified organization of that name."""
    owned = Organization.objects.filter(
        name=name, closed_at__isnull=True, memberships__user=owner, memberships__role=Role.OWNER
    )
    organization = owned.order_by("created_at").first()
    is_new = organization is None
    if organization is None:
        organization = organizations.create(name=name, owner=owner)
    # Sends `organization_verified`, whose receiver grants the sign-up credit once.
    organizations.verify(organization)
    organization.refresh_from_db()
    return organization, is_new
