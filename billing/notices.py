"""Mails to an organization's owners about its money, each once for its occasion."""

import logging
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import IntegrityError, transaction

from accounts import connections
from accounts.models import Role
from billing.models import Notice, Wallet

logger = logging.getLogger(__name__)


def send_once(wallet: Wallet, *, kind: str, occasion_at: datetime, subject: str, text: str) -> bool:
    """Mail the owners, unless they were told of this before. Call it outside transactions: it waits for the network.

    kind and occasion_at: what makes the occasion. text: whole paragraphs; a link to the billing page follows it.
    Returns False if it was sent before, or could not be sent now, whatever the reason: then the next call tries again.
    A process that dies between the claim and the mail leaves a mail unsent: rather none than two. Two it is only if
    the mail server took the mail and its answer did not come in time.
    """
    organization = wallet.organization
    owners = organization.memberships.filter(role=Role.OWNER, user__is_active=True).order_by("pk")
    addresses = list(owners.values_list("user__email", flat=True))
    try:
        with transaction.atomic():
            notice = Notice.objects.create(wallet=wallet, kind=kind, occasion_at=occasion_at)
    except IntegrityError:
        return False
    connections.release()
    try:
        # One mail to all: of several, the first would be sent again when the second fails.
        _send(
            # Names may hold line breaks, which no subject can.
            subject=" ".join(subject.split()),
            body=f"{text}\n\n{organization.name} on Voxsite: {settings.SITE_URL}/billing/\n",
            to=addresses,
        )
    except Exception:  # A claim without a mail would keep it from ever being sent.
        logger.exception("The mail %s of wallet %s was not sent; it will be tried again.", kind, wallet.pk)
        notice.delete()
        return False
    return True


def _send(*, subject: str, body: str, to: list[str]) -> None:
    server = get_connection()
    server.open()
    try:
        EmailMessage(subject, body, to=to, connection=server).send()
    finally:
        try:
            server.close()
        except Exception:  # Whether the mail was taken is known by now: a strange goodbye does not unsend it.
            logger.warning("The mail server did not end the connection as it should.", exc_info=True)
