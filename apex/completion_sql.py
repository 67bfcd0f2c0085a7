"""Inserts and updates the rows of completions. Only `completions` calls it.

It uses SQL: one round trip writes a whole batch, and the ORM takes longer to build the same statements.
"""

import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.functions import Now
from django.utils import timezone

from apex.models import Completion, State
from apex.types import AdmittedCompletion, CompletionResult

INSERT = """
INSERT INTO apex_completion (id, organization_id, api_key_id, hold_id, state, model, upstream, is_stream, source,
    cost_micros, finish, created_at, seen_at)
VALUES (%s, %s, %s, %s, 'running', %s, '', %s, '', 0, '', %s, {database_now})"""
UPDATE = """
UPDATE apex_completion SET state = %s, upstream = %s, prompt_tokens = %s, completion_tokens = %s, source = %s,
    cost_micros = %s, first_token_ms = %s, latency_ms = %s, finish = %s, ended_at = %s
WHERE id = %s AND state = 'running'"""


def insert_running(admitted: Sequence[tuple[AdmittedCompletion, bool]]) -> None:
    """Insert admitted completions: pairs of (completion, is it a stream)."""
    if not admitted:
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    values = [
        (
            _uuid(completion.completion_id),
            _uuid(completion.organization.pk),
            _uuid(completion.api_key.pk) if completion.api_key else None,
            completion.hold.pk,
            completion.model.name,
            is_stream,
            now,
        )
        for completion, is_stream in admitted
    ]
    _execute(_insert_statement(), values)


def update_ended(results: Sequence[CompletionResult], charges: Sequence[int | None]) -> None:
    """Write the results of completions.

    charges: the micro-dollars that each was charged; None for a completion that had ended before, which is skipped.
    """
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    values = [
        (
            State.CHARGED if charged_micros else State.RELEASED,
            result.upstream,
            result.billed.usage.prompt_tokens if result.billed else None,
            result.billed.usage.completion_tokens if result.billed else None,
            result.billed.source.value if result.billed else "",
            charged_micros,
            result.first_token_ms,
            result.latency_ms,
            result.finish[:40],
            now,
            _uuid(result.completion.completion_id),
        )
        for result, charged_micros in zip(results, charges, strict=True)
        if charged_micros is not None
    ]
    _execute(UPDATE, values)


@cache
def _insert_statement() -> str:
    database_now, _ = Completion.objects.all().query.get_compiler(DEFAULT_DB_ALIAS).compile(Now())
    return INSERT.format(database_now=database_now)


def _execute(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        if len(rows) == 1:
            # Most batches have one row, which needs no pipeline.
            cursor.execute(statement, rows[0])
        else:
            cursor.executemany(statement, rows)


def _uuid(value: uuid.UUID) -> object:
    return Completion._meta.get_field("id").get_db_prep_value(value, connection)
