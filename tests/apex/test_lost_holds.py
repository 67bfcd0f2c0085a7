"""Completions whose hold a crash of PostgreSQL has lost. The crash is played: what was written is taken back."""

import pytest
from django.db import connection

from apex import completions, lost_holds, shared_batches
from apex.models import Completion, State
from billing import ledger
from billing.models import Entry, Hold, HoldState, MonthlySpend, Wallet
from tests.apex.admitting import are_sound, completion_of, held, key_of, request_with, result_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("with_an_upstream")]


def admitted(organization, **fields):
    """Return a completion as it was admitted, and lose its hold."""
    key = key_of(organization)
    spent = list(MonthlySpend.objects.filter(wallet__organization=organization).values("pk", "spent_micros"))
    completion = completion_of(completions.begin([request_with(key, **fields)])[0])
    lose(completion, spent=spent)
    return completion


def lose(completion, *, spent):
    Completion.objects.filter(pk=completion.completion_id).delete()
    Hold.objects.filter(pk=completion.hold.pk).delete()
    wallet = Wallet.objects.filter(pk=completion.hold.wallet_id)
    wallet.update(held_micros=0)
    for row in spent:
        MonthlySpend.objects.filter(pk=row["pk"]).update(spent_micros=row["spent_micros"])


def other_hold_with_its_number(completion, *, amount_micros):
    """A sequence whose last values were lost gives them out again."""
    other = ledger.reserve(completion.organization, amount_micros=amount_micros, reference="chat:other")
    Hold.objects.filter(pk=other.pk).update(id=completion.hold.pk)
    other.pk = completion.hold.pk
    return other


def test_lost_hold_is_made_again_and_charged_once(organization):
    completion = admitted(organization, is_stream=True)
    assert completions.end([result_of(completion)]) == [10]
    row = Completion.objects.get(pk=completion.completion_id)
    assert (row.state, row.cost_micros, row.is_stream, row.hold.state) == (State.CHARGED, 10, True, HoldState.SETTLED)
    assert row.hold.reference == completion.hold.reference
    assert completions.end([result_of(completion)]) == [0]
    assert [entry.amount_micros for entry in Entry.objects.filter(reference=row.reference)] == [-10]
    assert held(organization) == 0
    assert are_sound(organization)


def test_lost_hold_without_an_answer_leaves_nothing(organization):
    completion = admitted(organization)
    assert completions.end([result_of(completion, billed=None)]) == [0]
    assert not Completion.objects.exists()
    assert not Hold.objects.filter(reference=completion.hold.reference).exists()
    assert are_sound(organization)


def test_hold_of_another_work_with_the_number_of_a_lost_one_stays(organization):
    completion = admitted(organization)
    # Of the same amount, so that only its reference tells it apart.
    other = other_hold_with_its_number(completion, amount_micros=completion.hold.amount_micros)
    assert completions.end([result_of(completion)]) == [10]
    other.refresh_from_db()
    assert (other.state, other.reference) == (HoldState.OPEN, "chat:other")
    assert held(organization) == other.amount_micros
    assert are_sound(organization)


def test_release_of_a_lost_hold_touches_no_other(organization):
    completion = admitted(organization)
    other = other_hold_with_its_number(completion, amount_micros=completion.hold.amount_micros)
    with pytest.raises(ledger.HoldLost):
        ledger.release(completion.hold)
    other.refresh_from_db()
    assert other.state == HoldState.OPEN


def test_lost_hold_is_charged_as_far_as_the_balance_covers(organization):
    completion = admitted(organization)
    wallet = ledger.wallet_of(organization)
    ledger.reserve(organization, amount_micros=wallet.available_micros - 4, reference="chat:rest")
    assert completions.end([result_of(completion)]) == [4]
    assert are_sound(organization)


def test_lost_hold_of_a_frozen_wallet_costs_nothing(organization):
    completion = admitted(organization)
    ledger.freeze(organization, reason="dispute:1")
    assert completions.end([result_of(completion)]) == [0]
    assert not Completion.objects.exists()
    assert are_sound(organization)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only")
def test_shared_batch_leaves_a_lost_hold_and_charges_the_others(organization, charlies):

    completion = admitted(organization)
    other = other_hold_with_its_number(completion, amount_micros=completion.hold.amount_micros)
    theirs = completion_of(completions.begin([request_with(key_of(charlies))])[0])
    first = shared_batches.end([result_of(completion), result_of(theirs)])
    assert first[0] is None
    assert completions.end([result_of(completion)]) == [10]
    assert (first[1] or completions.end([result_of(theirs)])[0]) == 10
    other.refresh_from_db()
    assert other.state == HoldState.OPEN
    assert are_sound(organization, charlies)


def test_price_of_a_lost_hold_is_asked_of_the_ledger_alone(organization):
    completion = admitted(organization)
    charge = completions.charge_of(result_of(completion))
    entry = lost_holds.charge_anew(result_of(completion), charge)
    assert isinstance(entry, Entry)
    assert (entry.amount_micros, entry.reference) == (-10, completion.hold.reference)
