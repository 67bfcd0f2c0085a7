"""What must never be false of a completion, whatever code writes."""

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from apex.models import Completion, State, reference_of
from billing import ledger


@pytest.fixture
def make(organization):
    """Return a maker of completions."""
    number = 0

    def make_completion(owner=organization, **fields):
        nonlocal number
        number += 1
        hold = ledger.reserve(owner, amount_micros=1, reference=f"test:{number}")
        return Completion.objects.create(organization=owner, hold=hold, model="apex-latest", **fields)

    return make_completion


NOW = timezone.now()
CHARGED = {"state": State.CHARGED, "ended_at": NOW, "cost_micros": 5, "prompt_tokens": 1, "completion_tokens": 1}


@pytest.mark.parametrize("fields", [{}, CHARGED, {"state": State.RELEASED, "ended_at": NOW}])
def test_completion_runs_or_is_charged_or_is_released(make, fields):
    make(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"ended_at": NOW},
        {"cost_micros": 5},
        {**CHARGED, "cost_micros": 0},
        {**CHARGED, "ended_at": None},
        {**CHARGED, "prompt_tokens": None},
        {**CHARGED, "completion_tokens": None},
        {"state": State.RELEASED, "ended_at": NOW, "cost_micros": 5},
        {"state": State.RELEASED},
        {"state": "lost"},
    ],
)
def test_contradiction_is_refused_by_the_database(make, fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        make(**fields)


def test_hold_belongs_to_one_completion_and_stays_with_it(make, organization):
    completion = make()
    with pytest.raises(IntegrityError), transaction.atomic():
        Completion.objects.create(organization=organization, hold=completion.hold, model="apex-latest")
    with pytest.raises(ProtectedError):
        completion.hold.delete()


def test_completions_are_reached_by_their_organization_and_state(make, organization, charlies):
    running, ended, theirs = make(), make(**CHARGED), make(charlies)
    assert set(Completion.objects.of(organization)) == {running, ended}
    assert set(Completion.objects.running()) == {running, theirs}


def test_reference_in_the_ledger_names_the_completion(make):
    completion = make()
    assert completion.reference == reference_of(completion.pk) == f"chat:{completion.pk}"
