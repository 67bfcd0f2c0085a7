"""The sandbox's state: one SQLite file, apart from the site's database as Stripe's is.

A change is one transaction of that file, so requests come one after the other, from whatever process.
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

Thing = dict[str, Any]

TABLES = """
CREATE TABLE IF NOT EXISTS things (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS things_by_kind ON things (kind, number);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    answered INTEGER, is_done INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS deliveries_open ON deliveries (due_at) WHERE is_done = 0;
CREATE TABLE IF NOT EXISTS plans (
    number INTEGER PRIMARY KEY, due_at REAL NOT NULL, act TEXT NOT NULL, id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS knobs (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
WAIT_SECONDS = 20
ID_CHARACTERS = string.ascii_letters + string.digits


class Missing(Exception):
    """There is no such object."""


class State:
    """What a change may read and write; lives as long as its transaction."""

    def __init__(self, database: sqlite3.Connection, *, now: float) -> None:
        self.database = database
        self.now = int(now)
        # Of the request at hand, for the events that it causes.
        self.request_id: str | None = None
        self.idempotency_key: str | None = None

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{''.join(secrets.choice(ID_CHARACTERS) for _ in range(24))}"

    def get(self, thing_id: str, *, kind: str = "") -> Thing:
        """Return the object. Raises Missing, also for one of another kind."""
        row = self.database.execute("SELECT body FROM things WHERE id = ?", (thing_id,)).fetchone()
        thing: Thing | None = json.loads(row[0]) if row else None
        if thing is None or (kind and thing["object"] != kind):
            raise Missing(thing_id)
        return thing

    def find(self, thing_id: str) -> Thing | None:
        try:
            return self.get(thing_id)
        except Missing:
            return None

    def put(self, thing: Thing) -> Thing:
        self.database.execute(
            "INSERT INTO things (id, kind, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (thing["id"], thing["object"], json.dumps(thing)),
        )
        return thing

    def list(self, kind: str, **wanted: Any) -> list[Thing]:
        """Return all objects of a kind with these fields, newest first."""
        rows = self.database.execute("SELECT body FROM things WHERE kind = ? ORDER BY number DESC", (kind,))
        things: list[Thing] = [json.loads(row[0]) for row in rows]
        return [thing for thing in things if all(thing.get(name) == value for name, value in wanted.items())]

    def knob(self, name: str) -> str:
        row = self.database.execute("SELECT value FROM knobs WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def turn(self, name: str, value: str) -> None:
        self.database.execute("INSERT OR REPLACE INTO knobs (name, value) VALUES (?, ?)", (name, value))

    def answer(self, key: str) -> tuple[str, int, str] | None:
        """Return (fingerprint, status, body) of what was answered under an idempotency key."""
        row = self.database.execute("SELECT fingerprint, status, body FROM answers WHERE key = ?", (key,)).fetchone()
        return (str(row[0]), int(row[1]), str(row[2])) if row else None

    def keep_answer(self, key: str, *, fingerprint: str, status: int, body: str) -> None:
        self.database.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (key, fingerprint, status, body))

    def plan(self, act: str, thing_id: str, *, after_seconds: float) -> None:
        """Let something happen later: `payments.carry_out` does it."""
        self.database.execute(
            "INSERT INTO plans (due_at, act, id) VALUES (?, ?, ?)", (self.now + after_seconds, act, thing_id)
        )


class Store:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def change(self) -> Iterator[State]:
        """Yield the state; all of what is done to it is kept, or nothing if an error is raised."""
        with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(TABLES)
            database.execute("BEGIN IMMEDIATE")
            try:
                yield State(database, now=time.time())
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def empty(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
