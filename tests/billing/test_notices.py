"""A mail is sent once for its occasion, and again only if it was not sent."""

import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core import mail

from accounts.models import Organization, Role, User
from billing import ledger, notices
from billing.models import Notice

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
    working = settings.EMAIL_BACKEND
    # Refuses to be made, with a ValueError: no trouble of the network.
    settings.EMAIL_BACKEND, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = SMTP, True, True
    assert send(acme) is False
    assert not Notice.objects.exists()
    settings.EMAIL_BACKEND = working
    assert [send(acme), send(acme)] == [True, False]
    assert len(mail.outbox) == 1


class RudeMailServer(socketserver.StreamRequestHandler):
    """Takes a mail as it should, and answers the goodbye with a line that no SMTP client reads."""

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
    """Yields the mails that it took."""
    taken: list[bytes] = []
    handler = type("Handler", (RudeMailServer,), {"taken": taken})
    with socketserver.TCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = SMTP, False, False
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
