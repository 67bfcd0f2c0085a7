"""Inserts and updates the rows of completions. Only `completions` and `shared_batches` call it.

It uses SQL: one round trip writes a whole batch, and the ORM takes longer to build the same statements.
"""

import json
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import ApiKey
from apex.models import Completion, State, reference_of
from apex.types import AdmissionRequest, AdmittedCompletion, CompletionResult
from billing import ledger

INSERT = """
INSERT INTO apex_completion (id, organization_id, api_key_id, hold_id, state, model, upstream, is_stream, source,
    cost_micros, finish, created_at, seen_at)
VALUES (%s, %s, %s, %s, 'running', %s, '', %s, '', 0, '', %s, {database_now})"""
UPDATE = """
UPDATE apex_completion SET state = %s, upstream = %s, prompt_tokens = %s, cached_prompt_tokens = %s,
    completion_tokens = %s, source = %s, cost_micros = %s, first_token_ms = %s, latency_ms = %s, finish = %s,
    ended_at = %s
WHERE id = %s AND state = 'running'"""

# The same beside the ledger's statement for several wallets (`billing.ledger.many_wallets`), on PostgreSQL. `done` has
# the holds or charges that were written. Naming the ids keeps the planner at the index while the table is young.
INSERT_COMPANION = """
INSERT INTO apex_completion (id, organization_id, api_key_id, hold_id, state, model, upstream, is_stream, source,
    cost_micros, finish, created_at, seen_at)
SELECT begun.id, begun.organization_id, begun.api_key_id, done.hold_id, 'running', begun.model, '', begun.is_stream, '',
    0, '', %(companion_now)s, STATEMENT_TIMESTAMP()
FROM done JOIN jsonb_to_recordset(%(companion_rows)s::jsonb) AS begun (
    reference text, id uuid, organization_id uuid, api_key_id uuid, model text, is_stream boolean)
    ON begun.reference = done.reference"""
UPDATE_COMPANION = """
UPDATE apex_completion AS completion SET state = 'charged', upstream = ended.upstream,
    prompt_tokens = ended.prompt_tokens, cached_prompt_tokens = ended.cached_prompt_tokens,
    completion_tokens = ended.completion_tokens, source = ended.source,
    cost_micros = ended.cost_micros, first_token_ms = ended.first_token_ms, latency_ms = ended.latency_ms,
    finish = ended.finish, ended_at = %(companion_now)s
FROM done JOIN jsonb_to_recordset(%(companion_rows)s::jsonb) AS ended (
    reference text, id uuid, upstream text, prompt_tokens integer, cached_prompt_tokens integer,
    completion_tokens integer, source text,
    cost_micros bigint, first_token_ms integer, latency_ms integer, finish text)
    ON ended.reference = done.reference
WHERE completion.id = ended.id AND completion.id = ANY(%(companion_ids)s::uuid[]) AND completion.state = 'running'"""


def insert_running(admitted: Sequence[AdmittedCompletion]) -> None:
    """Insert admitted completions."""
    if not admitted:
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    values = [
        (
            _uuid(completion.completion_id),
            _uuid(completion.organization.pk),
            _uuid(completion.api_key.charged_key_id) if completion.api_key else None,
            completion.hold.pk,
            completion.model.name,
            completion.is_stream,
            now,
        )
        for completion in admitted
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
            result.billed.usage.cached_prompt_tokens if result.billed else None,
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


def insert_companion(begun: Sequence[tuple[uuid.UUID, ApiKey, AdmissionRequest]]) -> ledger.Companion:
    """Return what inserts the rows of completions together with their holds.

    begun: (id of the completion, key, request).
    """
    rows = [
        {
            "reference": reference_of(completion_id),
            "id": completion_id.hex,
            "organization_id": api_key.organization_id.hex,
            "api_key_id": api_key.pk.hex,
            "model": request.model.name if request.model else "",
            "is_stream": request.is_stream,
        }
        for completion_id, api_key, request in begun
    ]
    return ledger.Companion(INSERT_COMPANION, {"companion_rows": json.dumps(rows), "companion_now": timezone.now()})


def update_companion(results: Sequence[CompletionResult], charges: Sequence[ledger.Charge]) -> ledger.Companion:
    """Return what writes the results of completions together with their charges."""
    rows = [
        {
            "reference": charge.hold.reference,
            "id": result.completion.completion_id.hex,
            "upstream": result.upstream,
            "prompt_tokens": result.billed.usage.prompt_tokens,
            "cached_prompt_tokens": result.billed.usage.cached_prompt_tokens,
            "completion_tokens": result.billed.usage.completion_tokens,
            "source": result.billed.source.value,
            "cost_micros": charge.actual_micros,
            "first_token_ms": result.first_token_ms,
            "latency_ms": result.latency_ms,
            "finish": result.finish[:40],
        }
        for result, charge in zip(results, charges, strict=True)
        if result.billed is not None
    ]
    values = {
        "companion_rows": json.dumps(rows),
        "companion_ids": [result.completion.completion_id for result in results],
        "companion_now": timezone.now(),
    }
    return ledger.Companion(UPDATE_COMPANION, values)


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
