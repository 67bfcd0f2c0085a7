"""Mail while the mail server is away, and when it is back: before a server of SMTP of the test's own."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from smtplib import SMTPDataError
from typing import Any, ClassVar

import pytest
from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import mail_queue
from accounts.models import User, WaitingMail
from tests.product import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.enable_socket]


class Session(socketserver.StreamRequestHandler):
    """One connection of SMTP. A recipient "rcpt450@..." gets this answer, and "data552@..." gets it after the mail."""

    def handle(self) -> None:
        server = self.server
        self.reply("220 here")
        line = ""
        while True:
            recipients, line = line, self.rfile.readline().decode().strip()
            if not line:
                return
            match line.upper().split(" ")[0]:
                case "DATA":
                    self.reply("354 go on")
                    content = b"".join(iter(self.rfile.readline, b".\r\n"))
                    server.taken.append(content.decode())  # type: ignore[attr-defined]
                    if "late@" in recipients:
                        server.confirms.wait()  # type: ignore[attr-defined]
                    if "gone@" in recipients:
                        return
                    self.reply(answer_to("data", recipients) or "250 taken")
                case "RCPT":
                    self.reply(answer_to("rcpt", line) or "250 ok")
                case "EHLO" if server.offers_login:  # type: ignore[attr-defined]
                    self.reply("250-here\r\n250 AUTH PLAIN")
                case "QUIT":
                    self.reply("221 bye")
                    return
                case _:
                    self.reply(answer_to("mail", line) or "250 ok")

    def reply(self, text: str) -> None:
        with suppress(OSError):  # the client has not waited
            self.wfile.write(f"{text}\r\n".encode())


def answer_to(verb: str, line: str) -> str | None:
    asked_for = re.search(rf"<{verb}(\d+)@", line)
    return asked_for and f"{asked_for[1]} not this one: secret@example.com"


@contextmanager
def mail_server(port: int) -> Iterator[list[str]]:
    with smtp_server(port) as server:
        yield server.taken


@contextmanager
def smtp_server(port: int) -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Session, bind_and_activate=False) as server:
        server.allow_reuse_address = True
        server.daemon_threads = True
        server.taken = []  # type: ignore[attr-defined]
        server.offers_login = False  # type: ignore[attr-defined]
        server.confirms = threading.Event()  # type: ignore[attr-defined]
        server.confirms.set()  # type: ignore[attr-defined]
        server.server_bind()
        server.server_activate()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.confirms.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def port(settings) -> int:
    """The port of the mail server, on which nobody listens yet."""
    settings.MAIL_TRANSPORT = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", free_port(), False
    return settings.EMAIL_PORT


def send_waiting(*, after: timedelta = timedelta(seconds=1)) -> int:
    mail_queue._clock_rest.end()
    return mail_queue.send_waiting(clock=lambda: timezone.now() + after)


def mail_to(*addresses: str, sender: str = "site@example.com") -> None:
    for address in addresses:
        EmailMessage("Subject", "Text", sender, [address]).send()
        mail_queue._rest.end()


def due_in() -> list[int]:
    """Return in how many minutes each waiting mail is due, in the order of their creation."""
    now = timezone.now()
    return [round((due - now).total_seconds() / 60) for due in recipients("due_at")]


def recipients(field: str = "recipients") -> list[Any]:
    return list(WaitingMail.objects.order_by("created_at").values_list(field, flat=True))


def test_sign_up_without_a_mail_server_is_whole_and_its_mail_comes_later(port):
    client = Client()
    response = client.post("/accounts/signup/", {"email": "new@example.com", "password1": "quiet river 42"})
    assert response.status_code == 302
    assert User.objects.filter(email="new@example.com").exists()
    assert EmailAddress.objects.filter(email="new@example.com", verified=False).exists()
    assert "confirm-email" not in WaitingMail.objects.get().content, "a link that signs in is not stored in clear"
    assert send_waiting() == 0
    with mail_server(port) as taken:
        assert send_waiting() == 1
        assert send_waiting() == 0
    link = re.search(r"/accounts/confirm-email/[^\s/]+/", taken[0].replace("=\r\n", ""))
    assert link
    assert client.get(link[0]).status_code == 200


def test_password_reset_without_a_mail_server_says_nothing_else_and_mails_later(port, alice):
    response = Client().post("/accounts/password/reset/", {"email": alice.email})
    assert response.status_code == 302
    with mail_server(port) as taken:
        assert send_waiting() == 1
    assert "password/reset/key" in taken[0].replace("=\r\n", "")


def test_mail_server_that_is_there_gets_the_mail_at_once(port):
    with mail_server(port) as taken:
        EmailMessage("Subject", "Text", to=["ann@example.com", "bob@example.com"]).send()
        assert len(taken) == 1
    assert not WaitingMail.objects.exists()


def test_address_that_the_server_refuses_holds_up_no_other(port):
    for to in ("rcpt550@example.com", "ann@example.com"):
        EmailMessage("Subject", "Text", to=[to]).send()
    assert WaitingMail.objects.count() == 2
    mail_queue._rest.end()
    with mail_server(port) as taken:
        assert send_waiting() == 1
    assert len(taken) == 1
    assert not WaitingMail.objects.exists()


def test_server_that_does_not_answer_is_asked_by_one_mail_in_a_while(port):
    get_connection().send_messages([EmailMessage("Subject", "Text", to=["ann@example.com"])] * 3)
    assert WaitingMail.objects.count() == 3
    assert not mail_queue._rest.may_ask()


def test_mail_that_is_too_old_is_given_up_and_the_log_says_how_many_for_what(port, caplog):
    mail_to("ann@example.com", "bob@example.com")
    with mail_server(port) as taken:
        mail_to("rcpt450@example.com")
        caplog.clear()
        assert send_waiting(after=mail_queue.MAX_AGE + timedelta(minutes=1)) == 0
    assert taken == []
    assert not WaitingMail.objects.exists()
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "after two days: 3: " in record.getMessage()
    assert "'ConnectionRefusedError 111': 2" in record.getMessage()
    assert "'SMTPRecipientsRefused 450': 1" in record.getMessage()


@pytest.mark.long
def test_mail_that_the_server_confirms_late_is_sent_once_more_and_not_every_round(port, settings):
    settings.EMAIL_TIMEOUT = 0.3
    with smtp_server(port) as server:
        server.confirms.clear()
        mail_to("late@example.com")
        assert due_in() == [8]
        assert [send_waiting(), send_waiting(), send_waiting()] == [0, 0, 0]
        assert len(server.taken) == 1
        threading.Timer(1, server.confirms.set).start()
        # The clock waits for the confirmation longer than the process of a page.
        assert send_waiting(after=timedelta(minutes=9)) == 1
        assert len(server.taken) == 2
    assert not WaitingMail.objects.exists()


@pytest.mark.long
def test_mail_that_is_never_confirmed_has_few_copies_in_two_days(port):
    with mail_server(port) as taken:
        mail_to("gone@example.com")
        for minutes in range(0, 2 * 24 * 60 - 5, 5):
            send_waiting(after=timedelta(minutes=minutes))
    assert len(taken) == mail_queue.MAX_ATTEMPTS // mail_queue.ATTEMPTS_OF_CUT_OFF
    assert not WaitingMail.objects.exists()


def test_connection_that_breaks_in_a_mail_holds_up_no_other(port):
    mail_to("gone@example.com", "ann@example.com")
    with mail_server(port) as taken:
        assert [send_waiting(), send_waiting()] == [0, 1]
    assert len(taken) == 2
    assert recipients() == [["gone@example.com"]]


def test_password_that_cannot_be_sent_is_no_fault_of_mails(port, settings):
    """smtplib raises a UnicodeEncodeError, which is no OSError. It must cost no mail an attempt."""
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "site", "pässword"
    mail_to("bob@example.com", "ann@example.com")
    with smtp_server(port) as server:
        server.offers_login = True
        assert send_waiting() == 0
    assert recipients("attempts") == [0, 0]


@pytest.mark.parametrize(
    "broken",
    [
        {"content": "of a key that was dropped"},
        {"recipients": ["no address: @@\r\n"]},
        {"recipients": 7},
    ],
)
def test_mail_that_cannot_be_read_holds_up_no_other_and_is_given_up(port, caplog, broken):
    mail_to("bob@example.com", "ann@example.com")
    first = WaitingMail.objects.order_by("created_at")[0]
    WaitingMail.objects.filter(pk=first.pk).update(**broken)
    with mail_server(port) as taken:
        assert send_waiting() == 1
        assert (len(taken), due_in(), recipients("attempts")) == (1, [1], [1])
        for _ in range(mail_queue.MAX_ATTEMPTS - 1):
            WaitingMail.objects.update(due_at=timezone.now())
            assert send_waiting() == 0
    assert not WaitingMail.objects.exists()
    assert "A mail was given up after 24 attempts" in caplog.text
    assert not re.search(r"@|example", caplog.text)


@pytest.mark.long
@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("rcpt450@example.com", "site@example.com"),
        ("data452@example.com", "site@example.com"),
        ("bob@example.com", "mail451@example.com"),
        ("bob@example.com", "mail550@example.com"),
    ],
)
def test_mail_that_the_server_refuses_for_now_holds_up_no_other_and_waits_longer_each_time(port, address, sender):
    mail_to(address, sender=sender)
    mail_to("ann@example.com")
    with mail_server(port):
        assert send_waiting() == 1
        assert recipients() == [[address]]
        waits = due_in()
        for _ in range(7):
            WaitingMail.objects.update(due_at=timezone.now())
            assert send_waiting() == 0
            waits += due_in()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_mail_that_the_server_refuses_for_now_leaves_the_server_to_other_people(port):
    with mail_server(port) as taken:
        EmailMessage("Subject", "Text", to=["rcpt450@example.com"]).send()
        assert mail_queue._rest.may_ask()
        EmailMessage("Subject", "Text", to=["ann@example.com"]).send()
    assert len(taken) == 1
    assert due_in() == [1]


@pytest.mark.long
@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("data552@example.com", "site@example.com"),
        ("rcpt550@example.com", "site@example.com"),
        ("bob@example.com", "mail552@example.com"),
    ],
)
def test_mail_that_is_refused_for_good_is_given_up_and_logged_without_addresses(port, caplog, address, sender):
    with mail_server(port):
        mail_to(address, sender=sender)
    assert not WaitingMail.objects.exists()
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert re.search(r"SMTP\w+ 55\d$", record.getMessage())
    assert "@" not in caplog.text


@pytest.mark.long
@pytest.mark.parametrize("code", [421, 530])
def test_server_that_wants_no_mails_ends_the_round(port, code):
    mail_to(f"rcpt{code}@example.com", "ann@example.com")
    with mail_server(port) as taken:
        assert send_waiting() == 0
        assert taken == []
        assert send_waiting() == 1
    assert recipients() == [[f"rcpt{code}@example.com"]]


def test_server_that_was_away_gets_all_mails_when_it_is_back(port):
    mail_to("ann@example.com", "bob@example.com")
    for _ in range(5):
        assert send_waiting() == 0
    assert recipients("attempts") == [0, 0]
    with mail_server(port):
        assert send_waiting() == 2


def test_clock_leaves_a_server_that_is_away_alone_for_a_moment(port):
    mail_to("ann@example.com")
    assert send_waiting() == 0
    with mail_server(port):
        assert mail_queue.send_waiting() == 0
        assert send_waiting() == 1


def test_mail_that_was_tried_often_is_given_up_before_two_days(port, caplog):
    with mail_server(port):
        mail_to("rcpt450@example.com")
        WaitingMail.objects.update(due_at=timezone.now(), attempts=mail_queue.MAX_ATTEMPTS - 1)
        caplog.clear()
        assert send_waiting() == 0
    assert not WaitingMail.objects.exists()
    assert "given up after 24 attempts: SMTPRecipientsRefused 450" in caplog.text
    assert "@" not in caplog.text


class LookingTransport(BaseEmailBackend):
    """Notes what the thread that sends holds, and for how long another clock leaves the mail to it."""

    seen: ClassVar[list[tuple[bool, datetime]]] = []

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        is_connected = connection.connection is not None
        self.seen.append((is_connected, WaitingMail.objects.get().due_at))
        return len(email_messages)


@pytest.mark.django_db(transaction=True)
def test_clock_holds_no_connection_while_it_waits_and_its_claim_outlives_the_exchange(port, settings):
    mail_to("ann@example.com")
    settings.MAIL_TRANSPORT = f"{__name__}.LookingTransport"
    now = timezone.now()
    assert send_waiting() == 1
    [(is_connected, claimed_until)] = LookingTransport.seen
    assert not is_connected
    assert claimed_until - now >= timedelta(seconds=10 * mail_queue.CLOCK_TIMEOUT_SECONDS)


def test_callers_that_try_again_themselves_learn_that_no_server_took_the_mail(port):
    mail = EmailMessage("Subject", "Text", to=["data452@example.com"])
    with pytest.raises(ConnectionRefusedError):
        mail_queue.send_now(mail)
    with mail_server(port), pytest.raises(SMTPDataError):
        mail_queue.send_now(mail)
    assert not WaitingMail.objects.exists()
