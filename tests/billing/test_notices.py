"""A mail is sent once for each occasion, and sent again only if it failed."""

import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends import locmem
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from accounts.models import Organization, Role, User
from billing import ledger, low_balance, notices
from billing.models import Notice
from tests.billing.conftest import fund

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.fixture(autouse=True)
def owner(acme: Organization) -> User:
    owner = User.objects.create_user("owner@example.com")
    acme.memberships.create(user=owner, role=Role.OWNER)
    return owner


def send(organization: Organization) -> bool:
    return notices.send_once(
        ledger.wallet_of(organization),
        kind="low_balance:1",
        occasion_at=datetime(2026, 11, 20, tzinfo=UTC),
        subject="Little is left",
        text="Very little.",
    )


def test_mail_is_sent_once(acme: Organization) -> None:
    assert [send(acme), send(acme)] == [True, False]
    assert [message.to for message in mail.outbox] == [["owner@example.com"]]


def test_failure_of_any_kind_is_tried_again(acme: Organization, settings: Any) -> None:
    working = settings.MAIL_TRANSPORT
    # Creating this mail fails with a ValueError, which is no network error.
    settings.MAIL_TRANSPORT, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = SMTP, True, True
    assert send(acme) is False
    assert not Notice.objects.exists()
    settings.MAIL_TRANSPORT = working
    assert [send(acme), send(acme)] == [True, False]
    assert len(mail.outbox) == 1


class ProcessEnded(BaseException):
    """No code catches it, as if the machine had stopped."""


class DeadlyMailServer(BaseEmailBackend):
    """The process that connects dies before the mail is accepted."""

    def send_messages(self, email_messages: object) -> int:
        raise ProcessEnded


class TakingMailServer(locmem.EmailBackend):
    """The process that connects dies after the mail was accepted."""

    def send_messages(self, messages: Any) -> int:
        super().send_messages(messages)
        raise ProcessEnded


def die_while_sending(organization: Organization, settings: Any, *, backend: str = "DeadlyMailServer") -> None:
    working = settings.MAIL_TRANSPORT
    settings.MAIL_TRANSPORT = f"{__name__}.{backend}"
    with pytest.raises(ProcessEnded):
        send(organization)
    settings.MAIL_TRANSPORT = working


def test_mail_of_a_process_that_died_is_sent_by_another_after_some_minutes(acme: Organization, settings: Any) -> None:
    with time_machine.travel(NOW, tick=False):
        die_while_sending(acme, settings)
        # The process may be alive.
        assert send(acme) is False
    with time_machine.travel(NOW + notices.CLAIM_LEASE, tick=False):
        assert [send(acme), send(acme)] == [True, False]
    with time_machine.travel(NOW + timedelta(days=30), tick=False):
        assert send(acme) is False
    assert len(mail.outbox) == 1


def test_process_that_dies_after_the_mail_makes_a_second_one_but_no_third(acme: Organization, settings: Any) -> None:
    with time_machine.travel(NOW, tick=False):
        die_while_sending(acme, settings, backend="TakingMailServer")
    with time_machine.travel(NOW + timedelta(days=1), tick=False):
        assert [send(acme), send(acme)] == [True, False]
    assert len(mail.outbox) == 2


def test_mail_that_fails_late_does_not_take_the_claim_of_another(acme: Organization, settings: Any) -> None:
    """One process waits for the mail server longer than its claim; another claims; then the first one fails."""
    with time_machine.travel(NOW, tick=False):
        die_while_sending(acme, settings)
    ours = Notice.objects.get()
    Notice.objects.update(retake_at=NOW + timedelta(hours=1))
    notices._release_claim(ours)
    assert Notice.objects.get().retake_at == NOW + timedelta(hours=1)


def test_those_who_ask_who_is_to_be_told_see_a_dead_claim_as_none(acme: Organization, settings: Any) -> None:
    """Sweeps skip owners who got the mail. An expired claim must not count as sent."""
    wallet = ledger.wallet_of(acme)
    fund(acme, 5_000_000)
    ledger.set_low_balance(acme, threshold_micros=4_000_000)
    ledger.reserve(acme, amount_micros=2_000_000, reference="job:1")
    now = timezone.now() + timedelta(seconds=1)
    working = settings.MAIL_TRANSPORT
    settings.MAIL_TRANSPORT = f"{__name__}.DeadlyMailServer"
    with pytest.raises(ProcessEnded):
        low_balance.sweep(now=now)
    settings.MAIL_TRANSPORT = working
    low_balance.sweep(now=now)
    assert mail.outbox == []
    with time_machine.travel(now + notices.CLAIM_LEASE, tick=False):
        for _ in range(2):
            low_balance.sweep(now=timezone.now())
    assert len(mail.outbox) == 1
    assert Notice.objects.get(wallet=wallet).retake_at is None


class RudeMailServer(socketserver.StreamRequestHandler):
    """Accepts a mail, then answers QUIT with a line that no SMTP client can read."""

    taken: list[bytes]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.split()[0].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.taken.append(letter)
            elif word == b"QUIT":
                self.wfile.write(b"221 " + b"x" * 9_000 + b"\r\n")
                return
            self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def rude_mail_server(settings: Any) -> Iterator[list[bytes]]:
    """Yields the mails that it accepted."""
    taken: list[bytes] = []
    handler = type("Handler", (RudeMailServer,), {"taken": taken})
    with socketserver.TCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.MAIL_TRANSPORT, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = SMTP, False, False
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address[:2]
        settings.EMAIL_HOST_USER = ""
        yield taken
        server.shutdown()


@pytest.mark.enable_socket
def test_mail_that_was_taken_is_not_sent_again_for_a_strange_goodbye(
    acme: Organization, rude_mail_server: list[bytes]
) -> None:
    assert [send(acme), send(acme)] == [True, False]
    assert len(rude_mail_server) == 1
