"""The database of a running test, made visible to other processes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection


def shared_database(folder: Path) -> dict[str, str]:
    """Return the environment in which other processes see what this test has written."""
    if connection.vendor == "postgresql":
        parts = urlsplit(settings.DATABASE_URL)
        name = connection.settings_dict["NAME"]
        return {"DATABASE_URL": urlunsplit(parts._replace(path=f"/{name}"))}
    # Other processes look for a file of the product's own name: they get a copy.
    connection.ensure_connection()
    with closing(sqlite3.connect(folder / "voxsite.sqlite3")) as copy:
        connection.connection.backup(copy)
        # Of eight first connections that all switch to WAL at once, one in 40 rounds failed with "database is locked":
        # the time-out does not cover the switch. A real server does it alone, when it migrates.
        copy.execute("PRAGMA journal_mode=WAL")
    return {"DATABASE_URL": "", "VOXSITE_DATA_DIR": str(folder)}
