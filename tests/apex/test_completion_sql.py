"""The rows of completions as SQL writes them: one, several, and only those that still run."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from apex import catalogue, completion_sql
from apex.models import Completion, State
from apex.types import AdmittedCompletion, CompletionResult
from apex.usage_meter import BilledUsage, Source, Usage
from billing import ledger


@pytest.fixture
def admit(organization):
    def admit_one(api_key=None, *, is_stream=False):
        completion_id = uuid.uuid4()
        hold = ledger.reserve(organization, amount_micros=50, reference=f"chat:{completion_id}")
        return AdmittedCompletion(
            completion_id=completion_id,
            organization=organization,
            api_key=api_key,
            hold=hold,
            model=catalogue.find("apex-latest"),
            completion_tokens=100,
            is_stream=is_stream,
        )

    return admit_one


def result_of(completion, *, billed=None, **fields):
    return CompletionResult(completion=completion, billed=billed, **{"finish": "stop", "latency_ms": 5, **fields})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_of_a_batch_are_as_the_model_would_write_them(organization, admit, count):
    key = api_keys.issue(organization, name="server", by=None)[0]
    admitted = [admit(key if number else None, is_stream=bool(number % 2)) for number in range(count)]
    completion_sql.insert_running(admitted)
    rows = {row.pk: row for row in Completion.objects.all()}
    assert set(rows) == {completion.completion_id for completion in admitted}
    for completion in admitted:
        row = rows[completion.completion_id]
        model = Completion(
            id=row.pk,
            organization=organization,
            api_key=completion.api_key,
            hold=completion.hold,
            model="apex-latest",
            is_stream=completion.is_stream,
            created_at=row.created_at,
            seen_at=row.seen_at,
        )
        for field in Completion._meta.concrete_fields:
            assert getattr(row, field.attname) == getattr(model, field.attname), field.name
        for moment in (row.created_at, row.seen_at):
            assert abs(moment - timezone.now()) < timedelta(minutes=1)


def test_ends_of_a_batch_are_written_and_those_that_ended_before_are_left(admit):
    charged, released, before, running = (admit() for _ in range(4))
    completion_sql.insert_running([charged, released, before, running])
    billed = BilledUsage(Usage(18, 10, 7), Source.UPSTREAM)
    completion_sql.update_ended(
        [
            result_of(charged, billed=billed, upstream="u", first_token_ms=3),
            result_of(released, finish="x" * 50),
            result_of(before, billed=billed),
        ],
        [10, 0, None],
    )
    rows = {row.pk: row for row in Completion.objects.all()}
    row = rows[charged.completion_id]
    assert (row.state, row.cost_micros, row.upstream, row.source) == (State.CHARGED, 10, "u", "upstream")
    assert (row.prompt_tokens, row.completion_tokens, row.first_token_ms, row.latency_ms) == (18, 10, 3, 5)
    assert row.cached_prompt_tokens == 7
    assert row.ended_at >= row.created_at
    row = rows[released.completion_id]
    assert (row.state, row.cost_micros, row.source, row.prompt_tokens) == (State.RELEASED, 0, "", None)
    # No more than the column holds, which PostgreSQL would refuse.
    assert row.finish == "x" * 40
    for completion in (before, running):
        assert rows[completion.completion_id].state == State.RUNNING


def test_end_that_comes_late_changes_nothing(admit):
    completion = admit()
    completion_sql.insert_running([completion])
    completion_sql.update_ended([result_of(completion, finish="process_died")], [0])
    late = result_of(completion, billed=BilledUsage(Usage(1, 1), Source.COUNTED))
    completion_sql.update_ended([late], [7])
    row = Completion.objects.get()
    assert (row.state, row.finish, row.cost_micros) == (State.RELEASED, "process_died", 0)
