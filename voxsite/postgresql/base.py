"""The backend that Django loads: its own one for PostgreSQL, with `pool.Pool` as the pool of the web process."""

from typing import Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base

from voxsite.postgresql.pool import Pool


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL, of the pool if the settings ask for one."""

    @property
    def pool(self) -> Pool | None:
        """Return the pool of this process. As in Django 5.2, where the class of the pool cannot be chosen."""
        options: Any = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        pools: dict[str, Pool] = self._connection_pools  # type: ignore[attr-defined]  # the stubs lack it
        if self.alias not in pools:
            arguments = self.get_connection_params() | {"autocommit": True}
            configure = self._configure_connection  # type: ignore[attr-defined]  # the stubs lack it
            pools.setdefault(self.alias, Pool(kwargs=arguments, open=False, configure=configure, **options))
        return pools[self.alias]
