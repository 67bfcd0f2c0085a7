"""Watches what a request asks PostgreSQL, and by which plans."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

# Statements that the planner plans.
PLANNED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "DECLARE")
# A page has a hundred rows at most.
MAX_SORTED = 1_000
# Parts of a transaction, which tests nest.
UNCOUNTED = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT")


@dataclass
class Watched:
    """Statements in their order, and what their plans do.

    scans: (table, statement) for each that reads a whole table; one that ends after some rows is none, unless it
    leaves rows out. sorts: (rows, statement) for each that sorts more than MAX_SORTED rows, as the planner expects.
    """

    statements: list[str] = field(default_factory=list)
    scans: list[tuple[str, str]] = field(default_factory=list)
    sorts: list[tuple[int, str]] = field(default_factory=list)


@contextmanager
def watching(*, tables: frozenset[str]) -> Iterator[Watched]:
    """Watch the statements of this thread's connection. tables: those that may not be scanned."""
    watched = Watched()

    def watch(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if not sql.lstrip().upper().startswith(UNCOUNTED):
            watched.statements.append(sql)
        if sql.lstrip().upper().startswith(PLANNED):
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                (plans,) = cursor.fetchone()
            (plan,) = json.loads(plans) if isinstance(plans, str) else plans
            watched.scans += [(table, sql) for table in _scanned(plan["Plan"]) if table in tables]
            watched.sorts += [(rows, sql) for rows in _sorted(plan["Plan"]) if rows > MAX_SORTED]
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield watched


def big_tables(*, min_rows: int) -> frozenset[str]:
    """Return the names of the tables that have this many rows at least."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples >= %s", [min_rows])
        return frozenset(name for (name,) in cursor.fetchall())


def _scanned(node: dict[str, Any], *, is_bounded: bool = False) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan" and not (is_bounded and "Filter" not in node):
        yield node["Relation Name"]
    for below in node.get("Plans", ()):
        yield from _scanned(below, is_bounded=node["Node Type"] == "Limit")


def _sorted(node: dict[str, Any]) -> Iterator[int]:
    if node["Node Type"] == "Sort":
        yield node["Plans"][0]["Plan Rows"]
    for below in node.get("Plans", ()):
        yield from _sorted(below)
