"""Mails to an organization's owners about its money. Each is sent once for each occasion."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import database_connection, mail_queue
from accounts.links import page_url
from accounts.models import Role
from billing.models import Notice, Wallet

logger = logging.getLogger(__name__)

# Longer than the longest SMTP exchange, in which each answer may take EMAIL_TIMEOUT. A process that has not sent its
# mail when the claim expires is therefore dead, and another may send it.
CLAIM_LEASE = timedelta(minutes=10)


def send_once(
    wallet: Wallet, *, kind: str, occasion_at: datetime, subject: str, text: str, wanted_by: str = "is_active"
) -> bool:
    """Mail the owners unless they have had this notice. Waits for the network: call it outside transactions.

    kind, occasion_at: identify the occasion. text: whole paragraphs; a link to the billing page is appended.
    wanted_by: the field of `User` that says which owners want such mails. If none does, nobody ever gets this one.
    Returns False if it was sent before, if another process is sending it, or if the mail server failed. After a failure
    the next call tries again.

    Delivery is at most once, with one exception: the owners get two mails if the mail server accepts the first and the
    process dies, or its answer times out, before the success is stored. A process that dies before sending delays the
    mail until its claim expires (CLAIM_LEASE).
    """
    organization = wallet.organization
    owners = organization.memberships.filter(role=Role.OWNER, **{"user__is_active": True, f"user__{wanted_by}": True})
    addresses = list(owners.order_by("pk").values_list("user__email", flat=True))
    notice = _claim(wallet, kind=kind, occasion_at=occasion_at)
    if notice is None:
        return False
    page = f"{settings.SITE_URL}{page_url(organization.pk, 'billing:billing')}"
    database_connection.release()
    message = EmailMessage(
        # A name may contain line breaks, a subject may not.
        " ".join(subject.split()),
        f"{text}\n\nOpen the billing page:\n{page}\n\n{organization.name} on Voxsite\n",
        to=addresses,
        reply_to=[settings.SUPPORT_EMAIL],
    )
    try:
        # One mail to all owners: with one mail each, a failure of the second would send the first again.
        # Not by the queue, which would take any mail: a notice is recorded as sent when the mail server has it.
        mail_queue.send_now(message)
    except OSError as error:
        reason = mail_queue.describe(error)
        # Its text may contain addresses.
        logger.error(  # noqa: TRY400
            "The mail %s of wallet %s was not sent; it will be tried again: %s", kind, wallet.pk, reason
        )
        _release_claim(notice)
        return False
    except Exception:
        logger.exception("The mail %s of wallet %s was not sent; it will be tried again.", kind, wallet.pk)
        _release_claim(notice)
        return False
    # Also if the claim expired meanwhile and another process has taken it: the mail is sent.
    Notice.objects.filter(pk=notice.pk).update(retake_at=None)
    return True


@contextmanager
def isolating_errors(kind: str, *, organization_id: uuid.UUID) -> Iterator[None]:
    """Let an error about one organization stop no mail to the others: it is logged, and the next round tries again."""
    try:
        yield
    except Exception:
        logger.exception("The mail %s to organization %s failed; it will be tried again.", kind, organization_id)


def record(wallet: Wallet, *, kind: str, occasion_at: datetime) -> bool:
    """Record a notice that goes out with the caller's transaction. Returns False if it was recorded before."""
    try:
        with transaction.atomic():
            Notice.objects.create(wallet=wallet, kind=kind, occasion_at=occasion_at)
    except IntegrityError:
        return False
    return True


def _claim(wallet: Wallet, *, kind: str, occasion_at: datetime) -> Notice | None:
    """Return the notice if this process may send it, or None if it was sent or another process has the claim."""
    now = timezone.now()
    try:
        with transaction.atomic():
            return Notice.objects.create(
                wallet=wallet, kind=kind, occasion_at=occasion_at, created_at=now, retake_at=now + CLAIM_LEASE
            )
    except IntegrityError:
        pass
    expired = Notice.objects.filter(wallet=wallet, kind=kind, occasion_at=occasion_at, retake_at__lte=now)
    # The UPDATE is atomic: of two processes that try to take an expired claim, one changes the row.
    if not expired.update(created_at=now, retake_at=now + CLAIM_LEASE):
        return None
    return Notice.objects.get(wallet=wallet, kind=kind, occasion_at=occasion_at)


def _release_claim(notice: Notice) -> None:
    """Let the next call claim the notice at once. Does nothing if another process has taken the claim."""
    Notice.objects.filter(pk=notice.pk, retake_at=notice.retake_at).delete()
