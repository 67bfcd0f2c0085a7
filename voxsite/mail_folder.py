"""Mail that development writes into a folder instead of sending it."""

import email
import email.policy
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from django.conf import settings

# Django's file backend ends each message of a file with a line of 79 hyphens.
SEPARATOR = "-" * 79
MAX_FILES = 200


@dataclass(frozen=True, slots=True)
class KeptMail:
    """One message, and the name of its file."""

    name: str
    kept_at: datetime
    subject: str
    to: str
    sender: str
    text: str


def newest() -> list[KeptMail]:
    """Return the messages of the newest files, newest first."""
    folder = Path(settings.EMAIL_FILE_PATH)
    files = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True) if folder.is_dir() else []
    return [mail for path in files[:MAX_FILES] for mail in reversed(_read(path))]


def of_file(name: str) -> list[KeptMail]:
    """Return the messages of one file in order, or an empty list if the folder has no such file."""
    folder = Path(settings.EMAIL_FILE_PATH)
    # The name comes from the URL. It is only compared with existing names, so it cannot lead to another folder.
    path = next((path for path in folder.glob("*.log") if path.name == name), None) if folder.is_dir() else None
    return _read(path) if path else []


def _read(path: Path) -> list[KeptMail]:
    kept_at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    parts = path.read_text(encoding="utf-8", errors="replace").split(f"\n{SEPARATOR}\n")
    return [_message(path.name, kept_at, part) for part in parts if part.strip()]


def _message(name: str, kept_at: datetime, source: str) -> KeptMail:
    message: EmailMessage = email.message_from_string(source.lstrip("\n"), policy=email.policy.default)
    body = message.get_body(preferencelist=("plain", "html"))
    return KeptMail(
        name=name,
        kept_at=kept_at,
        subject=str(message["subject"] or "(no subject)"),
        to=str(message["to"] or ""),
        sender=str(message["from"] or ""),
        text=body.get_content().strip() if body else "",
    )
