"""The sandbox's state: one SQLite file, apart from the site's database, as Stripe's is.

Each request, webhook and click is one transaction of this file, so they run one after another, whichever process they
come from.
"""

import json
import secrets
import sqlite3
import string
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from billing.sandbox.shapes import StripeObject

TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, number);
CREATE TABLE IF NOT EXISTS responses (
    idempotency_key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS webhooks (
    number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    status INTEGER, is_done INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS webhooks_pending ON webhooks (due_at) WHERE is_done = 0;
CREATE TABLE IF NOT EXISTS scheduled_actions (
    number INTEGER PRIMARY KEY, due_at REAL NOT NULL, action TEXT NOT NULL, object_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
LOCK_TIMEOUT_SECONDS = 20
ID_CHARACTERS = string.ascii_letters + string.digits


class NoSuchObject(Exception):
    """There is no object with this id, or it is of another kind."""


class ActionRefused(Exception):
    """The state of the object does not allow the action.

    message: the reason, for people. code: Stripe's error code, or empty.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class State:
    """Reads and writes the state inside one transaction."""

    def __init__(self, database: sqlite3.Connection, *, now: float) -> None:
        self.database = database
        self.now = int(now)
        # Of the API request, if there is one. Its events name both.
        self.request_id: str | None = None
        self.idempotency_key: str | None = None

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{''.join(secrets.choice(ID_CHARACTERS) for _ in range(24))}"

    def get(self, object_id: str, *, kind: str = "") -> StripeObject:
        """Return an object. Raises NoSuchObject."""
        row = self.database.execute("SELECT body FROM objects WHERE id = ?", (object_id,)).fetchone()
        found: StripeObject | None = json.loads(row[0]) if row else None
        if found is None or (kind and found["object"] != kind):
            raise NoSuchObject(object_id)
        return found

    def find(self, object_id: str) -> StripeObject | None:
        """Return an object, or None if there is none with this id."""
        try:
            return self.get(object_id)
        except NoSuchObject:
            return None

    def put(self, stripe_object: StripeObject) -> StripeObject:
        """Insert or replace an object. Returns it."""
        self.database.execute(
            "INSERT INTO objects (id, kind, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (stripe_object["id"], stripe_object["object"], json.dumps(stripe_object)),
        )
        return stripe_object

    def list(self, kind: str, **fields: Any) -> list[StripeObject]:
        """Return all objects of a kind with these values of fields, newest first."""
        rows = self.database.execute("SELECT body FROM objects WHERE kind = ? ORDER BY number DESC", (kind,))
        objects: list[StripeObject] = [json.loads(row[0]) for row in rows]
        return [found for found in objects if all(found.get(name) == value for name, value in fields.items())]

    def get_setting(self, name: str) -> str:
        """Return a setting of the control page; empty if it was never set."""
        row = self.database.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def set_setting(self, name: str, value: str) -> None:
        self.database.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))

    def stored_response(self, idempotency_key: str) -> tuple[str, int, str] | None:
        """Return (fingerprint of the request, HTTP status, body) of the first request with this key, or None."""
        row = self.database.execute(
            "SELECT fingerprint, status, body FROM responses WHERE idempotency_key = ?", (idempotency_key,)
        ).fetchone()
        return (str(row[0]), int(row[1]), str(row[2])) if row else None

    def store_response(self, idempotency_key: str, *, fingerprint: str, status: int, body: str) -> None:
        self.database.execute("INSERT INTO responses VALUES (?, ?, ?, ?)", (idempotency_key, fingerprint, status, body))

    def schedule(self, action: str, object_id: str, *, after_seconds: float) -> None:
        """Schedule an action for `payment_actions.run_scheduled_actions`."""
        self.database.execute(
            "INSERT INTO scheduled_actions (due_at, action, object_id) VALUES (?, ?, ?)",
            (self.now + after_seconds, action, object_id),
        )


class Store:
    """The SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[State]:
        """Yield the state. Commit at the end of the block; roll back if it raises."""
        with closing(sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(TABLES)
            database.execute("BEGIN IMMEDIATE")
            try:
                yield State(database, now=time.time())
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
