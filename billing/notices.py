"""Mails to an organization's owners about its money, each once for its occasion."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import connections
from accounts.models import Role
from billing.models import Notice, Wallet

logger = logging.getLogger(__name__)

# Several times as long as a mail server may take for all its answers (EMAIL_TIMEOUT each): who has not sent by then
# is dead.
CLAIM_LEASE = timedelta(minutes=10)


def send_once(wallet: Wallet, *, kind: str, occasion_at: datetime, subject: str, text: str) -> bool:
    """Mail the owners, unless they were told of this before. Call it outside transactions: it waits for the network.

    kind and occasion_at: what makes the occasion. text: whole paragraphs; a link to the billing page follows it.
    Returns False if it was sent before, or could not be sent now, whatever the reason: then the next call tries again.
    A process that dies between the claim and the mail delays it until the claim has run out. Two mails it is only if
    the mail server took the first and nobody could note it: its answer did not come in time, or the process died then.
    """
    organization = wallet.organization
    owners = organization.memberships.filter(role=Role.OWNER, user__is_active=True).order_by("pk")
    addresses = list(owners.values_list("user__email", flat=True))
    notice = _claim(wallet, kind=kind, occasion_at=occasion_at)
    if notice is None:
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
    except Exception:
        logger.exception("The mail %s of wallet %s was not sent; it will be tried again.", kind, wallet.pk)
        _give_up(notice)
        return False
    # Whoever took the claim meanwhile, the mail is out.
    Notice.objects.filter(pk=notice.pk).update(retake_at=None)
    return True


def _claim(wallet: Wallet, *, kind: str, occasion_at: datetime) -> Notice | None:
    """Return the notice, which is now ours to send, or None if it was sent or is another's."""
    now = timezone.now()
    try:
        with transaction.atomic():
            return Notice.objects.create(
                wallet=wallet, kind=kind, occasion_at=occasion_at, created_at=now, retake_at=now + CLAIM_LEASE
            )
    except IntegrityError:
        pass
    dead = Notice.objects.filter(wallet=wallet, kind=kind, occasion_at=occasion_at, retake_at__lte=now)
    # Of two who find it dead, the second finds it no longer so.
    if not dead.update(created_at=now, retake_at=now + CLAIM_LEASE):
        return None
    return Notice.objects.get(wallet=wallet, kind=kind, occasion_at=occasion_at)


def _give_up(notice: Notice) -> None:
    """Let the next call claim it at once, unless another has done so already."""
    Notice.objects.filter(pk=notice.pk, retake_at=notice.retake_at).delete()


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
