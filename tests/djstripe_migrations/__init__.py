"""dj-stripe's tables in one migration, for the tests' databases only (MIGRATION_MODULES in the settings)."""
