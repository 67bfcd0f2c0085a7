"""What money does when an organization is closed and deleted. All together is in tests/accounts/test_closures.py."""

import time
from datetime import timedelta

from accounts import api_keys, tokens
from accounts.models import ApiKey
from billing import closures, ledger, saved_cards
from billing.models import ChargeTag, Freeze, ReplacedCard, SavedCard
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs


def test_card_goes_to_be_detached_at_stripe(organization, charlies):
    SavedCard.objects.create(organization=organization, payment_method_id="pm_ours")
    SavedCard.objects.create(organization=charlies, payment_method_id="pm_theirs")
    for _ in range(2):
        closures.delete(organization, ends_at=time.monotonic() + 60)
    assert ReplacedCard.objects.get().payment_method_id == "pm_ours"
    assert SavedCard.objects.get().organization == charlies


def test_stripe_forgets_the_card(organization, stripe_sandbox):
    SavedCard.objects.create(organization=organization, payment_method_id="pm_unknown")
    closures.delete(organization, ends_at=time.monotonic() + 60)
    assert saved_cards.forget_replaced() == 1


def test_keys_that_the_ledger_counts_for_stay(organization):
    used, unused = (api_keys.issue(organization, name=name, by=None)[0] for name in ("used", "unused"))
    tokens.issue(used, name="t", scopes=["chat"], lifetime=timedelta(minutes=5), spend_limit_micros=9)
    tokens.issue(unused, name="t", scopes=["chat"], lifetime=timedelta(minutes=5), spend_limit_micros=9)
    ledger.settle(ledger.reserve(organization, amount_micros=9, reference="job:1", api_key=used), actual_micros=5)
    assert not closures.delete(organization, ends_at=time.monotonic())
    assert closures.delete(organization, ends_at=time.monotonic() + 60)
    assert list(ApiKey.objects.all()) == [used]
    assert ledger.verify(organization.wallet) == []


def test_tags_of_jobs_that_are_gone_go(organization, charlies):
    for owner in (organization, charlies):
        job = make_job(owner, metadata={"customer": "acme"})
        jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    closures.delete(organization, ends_at=time.monotonic() + 60)
    assert ChargeTag.objects.get().entry.wallet.organization == charlies


def test_closing_twice_leaves_one_freeze(organization):
    for _ in range(2):
        closures.close(organization)
    assert Freeze.objects.get(lifted_at=None).reason == closures.FREEZE
    closures.open_again(organization)
    assert not Freeze.objects.filter(lifted_at=None).exists()
