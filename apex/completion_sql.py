"""Writes completions. SQL, because it is one trip for all of a gathering, and building it by the ORM costs more."""

import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.functions import Now
from django.utils import timezone

from apex.models import Completion, State
from apex.types import Outcome, Ticket

BEGIN = """
INSERT INTO apex_completion (id, organization_id, api_key_id, hold_id, state, model, upstream, is_stream, source,
    cost_micros, finish, created_at, seen_at)
VALUES (%s, %s, %s, %s, 'running', %s, '', %s, '', 0, '', %s, {database_now})"""
END = """
UPDATE apex_completion SET state = %s, upstream = %s, prompt_tokens = %s, completion_tokens = %s, source = %s,
    cost_micros = %s, first_token_ms = %s, latency_ms = %s, finish = %s, ended_at = %s
WHERE id = %s AND state = 'running'"""


def write_begun(begun: Sequence[tuple[Ticket, bool]]) -> None:
    """Write completions that begin: (ticket, whether it is a stream)."""
    if not begun:
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    values = [
        (
            _uuid(ticket.completion_id),
            _uuid(ticket.organization.pk),
            _uuid(ticket.api_key.pk) if ticket.api_key else None,
            ticket.hold.pk,
            ticket.model.name,
            is_stream,
            now,
        )
        for ticket, is_stream in begun
    ]
    _run(_begin_statement(), values)


def write_ends(outcomes: Sequence[Outcome], charges: Sequence[int | None]) -> None:
    """Write what became of completions. charges: what each was charged, None for one that had ended before."""
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    values = [
        (
            State.CHARGED if charged_micros else State.RELEASED,
            outcome.upstream,
            outcome.measure.usage.prompt_tokens if outcome.measure else None,
            outcome.measure.usage.completion_tokens if outcome.measure else None,
            outcome.measure.source.value if outcome.measure else "",
            charged_micros,
            outcome.first_token_ms,
            outcome.latency_ms,
            outcome.finish[:40],
            now,
            _uuid(outcome.ticket.completion_id),
        )
        for outcome, charged_micros in zip(outcomes, charges, strict=True)
        if charged_micros is not None
    ]
    _run(END, values)


@cache
def _begin_statement() -> str:
    database_now, _ = Completion.objects.all().query.get_compiler(DEFAULT_DB_ALIAS).compile(Now())
    return BEGIN.format(database_now=database_now)


def _run(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        if len(rows) == 1:
            # Most come alone, and one alone needs no pipeline.
            cursor.execute(statement, rows[0])
        else:
            cursor.executemany(statement, rows)


def _uuid(value: uuid.UUID) -> object:
    return Completion._meta.get_field("id").get_db_prep_value(value, connection)
