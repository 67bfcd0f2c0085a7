"""Django's backend for PostgreSQL, with a pool that notices when the server is away, hangs or is back."""
