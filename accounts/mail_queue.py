"""Mail that waits for a mail server that is away: Django's mail backend, and what the clock sends later.

A person who signs up or resets a password while the mail server is away gets the mail when it is back, and no error.
The mail is written in the transaction of the caller, so what is rolled back mails nothing.
"""

import base64
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPResponseException, SMTPSenderRefused
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from accounts import database_connection, encryption, mail_layout, outages
from accounts.models import WaitingMail

logger = logging.getLogger(__name__)

# Confirmation links are valid for days, and a link to reset a password for three.
MAX_AGE = timedelta(days=2)
# Each answer of the mail server may take so long when the clock sends. A server that looks through a mail before it
# confirms it would otherwise get it again and again. RFC 5321, section 4.5.3.2.6, asks for ten minutes at most.
CLOCK_TIMEOUT_SECONDS = 300
# Another clock may send what this one has claimed, if it died, after this time. An exchange has a dozen answers.
CLAIM = timedelta(seconds=12 * CLOCK_TIMEOUT_SECONDS)
MAX_BATCH_SIZE = 200
# A mail that was not taken is tried again after 1, 2, 4 ... minutes, at most 60: 24 attempts take 19 hours.
FIRST_DELAY, MAX_DELAY = timedelta(minutes=1), timedelta(minutes=60)
MAX_ATTEMPTS = 24
# The mail server may have taken a mail at whose end the connection broke. So there are few copies, and late ones.
ATTEMPTS_OF_CUT_OFF = 4
# SMTP codes (RFC 5321, section 4.2; RFC 4954, section 6).
SHUTTING_DOWN = 421
LOG_IN_CODES = frozenset({530, 534, 535, 538})
TOO_LARGE = 552
FIRST_ANSWER, PERMANENT = 400, 500

_rest = outages.Rest()
_clock_rest = outages.Rest(seconds=30)


class _Outcome(Enum):
    """What became of one mail."""

    SENT = "the server has it"
    REFUSED = "the server refuses this mail permanently"
    LATER = "the server refuses this mail for now"
    BUSY = "the server wants no mails now"
    CUT_OFF = "the connection broke during the mail, which the server may have"
    AWAY = "the server was not reached, or does not let us log in"
    BROKEN = "it cannot be read, or is no mail"


# These say something about the mail server, and not about the mail.
_OUTAGES = frozenset({_Outcome.BUSY, _Outcome.CUT_OFF, _Outcome.AWAY})


class MailBackend(BaseEmailBackend):
    """Sends by `settings.MAIL_TRANSPORT`, or keeps what it does not take. Never raises an error of the mail server."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Send or keep the messages, and return how many these are."""
        taken = 0
        for message in email_messages:
            if not message.recipients():
                continue
            if _rest.may_ask():
                outcome, failure = _try(message)
                _tell(_rest, is_away=outcome in _OUTAGES)
            else:
                outcome, failure = _Outcome.AWAY, "the server was left alone"
            if outcome not in (_Outcome.SENT, _Outcome.REFUSED):
                _keep(message, outcome=outcome, failure=failure)
            taken += 1
        return taken


def put(message: EmailMessage) -> None:
    """Have a mail sent by the clock in a few seconds, unless the caller's transaction is rolled back."""
    _keep(message, outcome=_Outcome.AWAY, failure="")


def send_now(message: EmailMessage) -> None:
    """Send a mail without the queue, for callers that try again themselves or tell the person of a failure.

    Raises OSError, of which the errors of smtplib are kinds, if the mail server does not take the mail.
    """
    server = _connection()
    _log_in(server)
    _hand_over(message, server=server)


def describe(error: OSError) -> str:
    """Return the type and codes of an error of `send_now` for the log. Its text may contain addresses."""
    return " ".join([type(error).__name__, *map(str, _codes(error))])


def send_waiting(*, clock: Callable[[], datetime] = timezone.now) -> int:
    """Send the mails that are due, oldest first, until the mail server is away. Returns how many were sent.

    Waits for the network, up to minutes: call it outside transactions. It keeps no database connection meanwhile.
    """
    _forget_old(now=clock())
    sent = 0
    due = WaitingMail.objects.filter(due_at__lte=clock()).order_by("created_at")
    # The rest of a row is read alone: one that cannot be read must not hold all others.
    for mail in due.only("due_at", "attempts")[:MAX_BATCH_SIZE]:
        if not _clock_rest.may_ask():
            break
        # Several clocks may run: one of them gets the row.
        claimed_until = clock() + CLAIM
        if not WaitingMail.objects.filter(pk=mail.pk, due_at=mail.due_at).update(due_at=claimed_until):
            continue
        outcome, failure = _try_stored(mail)
        # After other outcomes the next mail may be taken at once.
        if outcome is not _Outcome.BROKEN:
            _tell(_clock_rest, is_away=outcome is _Outcome.AWAY)
        if outcome in (_Outcome.SENT, _Outcome.REFUSED):
            mail.delete()
            sent += outcome is _Outcome.SENT
        else:
            _put_off(mail, claimed_until=claimed_until, outcome=outcome, failure=failure, now=clock())
        if outcome in _OUTAGES:
            break
    return sent


def _forget_old(*, now: datetime) -> None:
    old = WaitingMail.objects.filter(created_at__lt=now - MAX_AGE)
    if kinds := Counter(old.values_list("failure", flat=True)):
        old.delete()
        logger.error("Mails were given up after two days: %s: %s", kinds.total(), dict(kinds))


def _put_off(mail: WaitingMail, *, claimed_until: datetime, outcome: _Outcome, failure: str, now: datetime) -> None:
    attempts = mail.attempts + _attempts_of(outcome)
    # The claim may have expired, and another clock may have the row.
    row = WaitingMail.objects.filter(pk=mail.pk, due_at=claimed_until)
    if attempts >= MAX_ATTEMPTS:
        row.delete()
        logger.error("A mail was given up after %s attempts: %s", attempts, failure)
        return
    # A mail that never reached the server is due as soon as the server is back.
    due_at = mail.due_at if outcome is _Outcome.AWAY else now + _delay(attempts)
    row.update(due_at=due_at, attempts=attempts, failure=failure)


def _tell(rest: outages.Rest, *, is_away: bool) -> None:
    if is_away:
        rest.begin()
    else:
        rest.end()


def _attempts_of(outcome: _Outcome) -> int:
    match outcome:
        case _Outcome.AWAY:
            return 0
        case _Outcome.CUT_OFF:
            return ATTEMPTS_OF_CUT_OFF
    return 1


def _delay(attempts: int) -> timedelta:
    return min(FIRST_DELAY * 2 ** (attempts - 1), MAX_DELAY) if attempts else timedelta()


def _try(message: EmailMessage, *, timeout_seconds: float | None = None) -> tuple[_Outcome, str]:
    """Send a mail. Returns what became of it, and the failure for the log, which is empty if there was none."""
    server = _connection(timeout_seconds=timeout_seconds)
    try:
        _log_in(server)
    except OSError as error:
        outcome, failure = _Outcome.AWAY, describe(error)
    except Exception as error:  # noqa: BLE001 - a password that smtplib cannot send: no mail is at fault, and none is lost
        outcome, failure = _Outcome.AWAY, type(error).__name__
    else:
        try:
            _hand_over(message, server=server)
        except OSError as error:
            outcome, failure = _outcome_of(error), describe(error)
        else:
            return _Outcome.SENT, ""
    level = logging.ERROR if outcome is _Outcome.REFUSED else logging.WARNING
    logger.log(level, "A mail was not sent: %s: %s", outcome.value, failure)
    return outcome, failure


def _try_stored(mail: WaitingMail) -> tuple[_Outcome, str]:
    """Send a mail that was kept. An error that is none of the mail server's is one of this mail alone."""
    try:
        mail.refresh_from_db(fields=["sender", "recipients", "content"])
        stored = _Stored(mail)
        database_connection.release()
        return _try(stored, timeout_seconds=CLOCK_TIMEOUT_SECONDS)
    except (OperationalError, InterfaceError):
        raise  # The database is away.
    except Exception as error:  # noqa: BLE001 - a key that was dropped, an address that is none, what nobody thought of
        # Its text may contain addresses.
        outcome, failure = _Outcome.BROKEN, type(error).__name__
    logger.error("A mail was not sent: %s: %s", outcome.value, failure)
    return outcome, failure


def _connection(*, timeout_seconds: float | None = None) -> BaseEmailBackend:
    """Return an unopened connection. Each answer may take the seconds, or settings.EMAIL_TIMEOUT without them."""
    return get_connection(settings.MAIL_TRANSPORT, timeout=timeout_seconds)


def _log_in(server: BaseEmailBackend) -> None:
    try:
        server.open()
    except BaseException:
        _hang_up(server)
        raise


def _hand_over(message: EmailMessage, *, server: BaseEmailBackend) -> None:
    try:
        server.send_messages([mail_layout.with_html(message)])
    finally:
        _hang_up(server)


def _hang_up(server: BaseEmailBackend) -> None:
    try:
        server.close()
    except OSError as error:  # The mail is accepted or refused by now; an error at QUIT changes nothing.
        logger.warning("The mail server did not end the connection as it should: %s", describe(error))


def _outcome_of(error: OSError) -> _Outcome:
    """Tell what the error means that ended the exchange about a mail, after the log-in."""
    codes = _codes(error)
    is_answer = isinstance(error, SMTPRecipientsRefused | SMTPSenderRefused | SMTPDataError)
    if not is_answer or min(codes) < FIRST_ANSWER:
        return _Outcome.CUT_OFF
    if SHUTTING_DOWN in codes or LOG_IN_CODES & set(codes):
        return _Outcome.BUSY
    # Other permanent answers about the sender are about our settings, which an operator can mend.
    if isinstance(error, SMTPSenderRefused):
        return _Outcome.REFUSED if TOO_LARGE in codes else _Outcome.LATER
    return _Outcome.REFUSED if min(codes) >= PERMANENT else _Outcome.LATER


def _codes(error: OSError) -> list[int]:
    match error:
        case SMTPRecipientsRefused():
            return sorted({code for code, _ in error.recipients.values()})
        case SMTPResponseException():
            return [error.smtp_code]
    return [error.errno] if error.errno else []


def _keep(message: EmailMessage, *, outcome: _Outcome, failure: str) -> None:
    now = timezone.now()
    attempts = _attempts_of(outcome)
    # Mails carry links that sign in, so they are encrypted like other secrets.
    raw = mail_layout.with_html(message).message().as_bytes(linesep="\r\n")  # type: ignore[call-arg]  # Django's own messages take it
    content = base64.b64encode(raw).decode()
    WaitingMail.objects.create(
        created_at=now,
        due_at=now + _delay(attempts),
        attempts=attempts,
        failure=failure,
        sender=message.from_email,
        recipients=message.recipients(),
        content=encryption.encrypt(content),
    )


class _Stored(EmailMessage):
    """A mail that was kept, as the transport takes it."""

    def __init__(self, mail: WaitingMail) -> None:
        super().__init__(from_email=mail.sender, to=mail.recipients)
        self._content = base64.b64decode(encryption.decrypt(mail.content))

    def message(self, *_: Any, **__: Any) -> Any:
        """Return the only part of a message that Django's transports use."""
        return _Bytes(self._content)


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def as_bytes(self, *_: Any, **__: Any) -> bytes:
        return self._content
