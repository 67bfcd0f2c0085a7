"""Mail that is kept in a folder: what Django's backend wrote comes back, whatever its text."""

import os
from pathlib import Path

import pytest
from django.conf import settings
from django.core import mail
from django.core.mail.backends.filebased import EmailBackend

from voxsite import mail_folder

BACKENDS: list[EmailBackend] = []


@pytest.fixture
def folder(settings, tmp_path):
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    return tmp_path / "mail"


def keep(*messages, written_at=None):
    """Write messages into one file of the folder. Return its name."""
    folder = Path(settings.EMAIL_FILE_PATH)
    before = set(folder.glob("*"))
    # The name of a file has the second and the id of its backend, which the next backend may get once this one is gone.
    BACKENDS.append(EmailBackend())
    BACKENDS[-1].send_messages(messages)
    (file,) = set(folder.glob("*")) - before
    if written_at is not None:
        os.utime(file, (written_at, written_at))
    return file.name


def message(subject, text="Hello", **fields):
    return mail.EmailMessage(subject, text, "site@example.com", ["ann@example.com"], **fields)


def test_message_comes_back_as_it_was_sent(folder):
    name = keep(message("Grüße ☎", "First line\n\nhttps://example.com/a?b=c"), written_at=0)
    (kept,) = mail_folder.newest()
    assert (kept.name, kept.subject, kept.to, kept.sender) == (
        name,
        "Grüße ☎",
        "ann@example.com",
        "site@example.com",
    )
    assert kept.text == "First line\n\nhttps://example.com/a?b=c"
    assert kept.kept_at.isoformat() == "1970-01-01T00:00:00+00:00"


def test_newest_message_is_first_across_and_inside_files(folder):
    keep(message("1"), message("2"), written_at=100)
    keep(message("3"), written_at=200)
    assert [kept.subject for kept in mail_folder.newest()] == ["3", "2", "1"]


def test_file_gives_its_messages_in_order(folder):
    name = keep(message("1"), message("2"))
    assert [kept.subject for kept in mail_folder.of_file(name)] == ["1", "2"]


def test_line_of_hyphens_inside_a_text_ends_no_message_unless_it_is_as_long_as_djangos(folder):
    name = keep(message("1", f"above\n{'-' * 78}\nbelow"))
    (kept,) = mail_folder.of_file(name)
    assert kept.text.endswith("below")


def test_message_without_a_subject_is_shown(folder):
    folder.mkdir()
    (folder / "odd.log").write_bytes(b"To: ann@example.com\n\nHello")
    (kept,) = mail_folder.newest()
    assert (kept.subject, kept.to, kept.text) == ("(no subject)", "ann@example.com", "Hello")


@pytest.mark.parametrize("name", ["../secret.log", "secret.log", "", ".", "*.log"])
def test_name_leads_to_no_other_file(folder, name):
    keep(message("1"))
    (folder.parent / "secret.log").write_text("Subject: secret\n\nsecret")
    assert mail_folder.of_file(name) == []


def test_folder_that_is_not_there_is_empty(folder):
    assert mail_folder.newest() == []
    assert mail_folder.of_file("a.log") == []
