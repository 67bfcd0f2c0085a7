"""The directly created tables of dj-stripe equal those of its migrations."""

import os
import sqlite3
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from billing import stripe_tables


def migrated(folder, *command):
    """Migrate a separate database in a separate process, which uses dj-stripe's real migrations."""
    environment = {**os.environ, "VOXSITE_ENV": "development", "VOXSITE_DATA_DIR": str(folder)}
    environment.pop("DATABASE_URL", None)
    subprocess.run([sys.executable, "manage.py", *command, "-v0"], cwd=settings.BASE_DIR, env=environment, check=True)
    return sqlite3.connect(folder / "voxsite.sqlite3")


def schema(database):
    """Return {table: (columns, indexes with their columns, foreign keys)}, without generated names."""
    found = {}
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if not table.startswith("djstripe_"):
            continue
        columns = {row[1:] for row in database.execute(f"PRAGMA table_info({table})")}
        indexes = sorted(
            (row[2], row[3], tuple(part[2] for part in database.execute(f"PRAGMA index_info({row[1]})")))
            for row in database.execute(f"PRAGMA index_list({table})")
        )
        keys = {row[2:] for row in database.execute(f"PRAGMA foreign_key_list({table})")}
        found[table] = (columns, indexes, keys)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quick_tables_are_those_of_the_migrations(tmp_path):
    (tmp_path / "quick").mkdir()
    (tmp_path / "slow").mkdir()
    quick = schema(migrated(tmp_path / "quick", "migrate_quickly"))
    slow = schema(migrated(tmp_path / "slow", "migrate"))
    assert quick.keys() == slow.keys()
    for table in slow:
        # `schema` leaves out the numbers of columns, so only their order may differ.
        assert quick[table] == slow[table], table


def test_tables_that_are_there_are_left_alone(db):
    assert not stripe_tables.are_missing()
    call_command("migrate_quickly", verbosity=0)


def test_tests_have_the_same_tables(db):
    tables = {name for name in connection.introspection.table_names() if name.startswith("djstripe_")}
    assert len(tables) > 40
