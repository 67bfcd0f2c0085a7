"""A new database is migrated quickly and completely."""

import pytest

from tests.billing.test_stripe_tables import migrated


@pytest.mark.slow
def test_quick_database_is_whole_and_needs_no_more_migrations(tmp_path):
    database = migrated(tmp_path, "migrate_quickly")
    recorded = {row[0] for row in database.execute("SELECT name FROM django_migrations WHERE app = 'djstripe'")}
    assert {"0001_initial", "0002_2_10", "0003_2_11"} <= recorded
    before = database.execute("SELECT COUNT(*) FROM django_migrations").fetchone()
    # The command runs again at every start.
    migrated(tmp_path, "migrate_quickly")
    migrated(tmp_path, "migrate", "--check")
    assert database.execute("SELECT COUNT(*) FROM django_migrations").fetchone() == before
