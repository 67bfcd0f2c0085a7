"""Databases of tests. All are copies of a template, which is migrated once in a test run: that costs 6 s of a core.

The template is a file of SQLite, or a database on the PostgreSQL that DATABASE_URL names.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

PROJECT_DIR = Path(__file__).resolve().parent.parent
# Makes the template, unless another process of this test run did or does.
MAKE = [sys.executable, "-c", "from tests import database; database.make_template()"]


def make_template() -> None:
    with _template():
        pass


def copy_file(path: Path) -> None:
    """Make a database of SQLite."""
    with _template(url="") as template:
        shutil.copyfile(template, path)


def create(url: str) -> None:
    """Make the database of PostgreSQL that the URL names, instead of the one of this name that may be there."""
    with _template(url=url) as template:
        _on_server(url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", _name_in(url))
        _on_server(url, "CREATE DATABASE {} TEMPLATE {}", _name_in(url), str(template))


def create_empty(url: str) -> None:
    """Make the database of PostgreSQL that the URL names, without a table."""
    _on_server(url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", _name_in(url))
    _on_server(url, "CREATE DATABASE {} TEMPLATE template0", _name_in(url))


def drop(url: str) -> None:
    """Drop the database of PostgreSQL that the URL names, also while it is used."""
    _on_server(url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", _name_in(url))


def drop_template() -> None:
    """Drop the template on PostgreSQL, if there is one, at the end of a test run. The file is in the run's folder."""
    for made in _folder().glob("postgresql-*"):
        drop(_named(os.environ["DATABASE_URL"], made.name.removeprefix("postgresql-")))


@contextmanager
def _template(url: str | None = None) -> Iterator[Path | str]:
    """Give the template's file, or its name on PostgreSQL. No other process copies it meanwhile.

    url: of any database on the server of PostgreSQL; "" for SQLite; None for what the environment names.
    """
    url = os.environ.get("DATABASE_URL", "") if url is None else url
    folder = _folder()
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if url:
            name = f"{folder.parent.name.replace('-', '_')}_template".lower()
            if not (folder / f"postgresql-{name}").exists():
                _on_server(url, "CREATE DATABASE {}", name)
                (folder / f"postgresql-{name}").touch()
                _migrate(folder / "new", DATABASE_URL=_named(url, name))
            yield name
        else:
            path = folder / "voxsite.sqlite3"
            if not path.exists():
                _migrate(folder / "new", DATABASE_URL="")
                (folder / "new" / path.name).rename(path)
            yield path


def _folder() -> Path:
    return Path(os.environ["VOXSITE_TEST_DIR"]) / "template"


def _migrate(data_dir: Path, **switches: str) -> None:
    """Migrate in a process of its own, whose settings are those of tests."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "voxsite.settings",
        "VOXSITE_ENV": "development",
        "VOXSITE_DATA_DIR": str(data_dir),
        **switches,
    }
    code = "import pytest, django; django.setup(); from tests import database; database.migrate_here()"
    # No time-out but that of the test: ten seconds become minutes on a busy machine.
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, env=environment, check=True)


def migrate_here() -> None:
    """Migrate the database of the settings, with dj-stripe's tables as tests/djstripe_migrations makes them.

    Its own migrations are recorded too, as `migrate_quickly` does, because the products under test know only those.
    """
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader
    from django.db.migrations.recorder import MigrationRecorder
    from django.test import override_settings

    call_command("migrate", interactive=False, verbosity=0)
    with override_settings(MIGRATION_MODULES={}):
        loader = MigrationLoader(connection)
    for app, name in loader.disk_migrations.keys() - loader.applied_migrations.keys():
        MigrationRecorder(connection).record_applied(app, name)


def _on_server(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(_named(url, "postgres"), autocommit=True) as server:
        server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _named(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _name_in(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
