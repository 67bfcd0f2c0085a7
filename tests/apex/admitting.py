"""Completions that a test admits and ends without an endpoint."""

from collections.abc import Iterator, Sequence

import pytest

from accounts import api_keys
from accounts.gate import caller_cache
from accounts.models import Organization
from apex import catalogue, shared_batches
from apex.shared_batches import Deferred
from apex.types import Admission, AdmissionRequest, AdmittedCompletion, CompletionResult
from apex.usage_meter import BilledUsage, Source, Usage
from billing import ledger
from billing.models import Wallet

BILLED = BilledUsage(Usage(18, 10), Source.UPSTREAM)


@pytest.fixture
def with_an_upstream(settings) -> Iterator[None]:
    settings.APEX_UPSTREAMS = [{"name": "u", "base_url": "http://u", "api_key": "", "model_names": {}}]
    caller_cache.forget_all()
    shared_batches._alone_until.clear()
    shared_batches._room.clear()
    yield
    caller_cache.forget_all()


def begin(requests: Sequence[AdmissionRequest]) -> list[Admission | Deferred]:
    """Admit requests. However slow the machine is: what is known of a key is old in these tests."""
    return shared_batches.begin(requests, max_caller_age_seconds=600.0)


def key_of(organization: Organization, **fields) -> str:
    """Return a key whose first hold of the month was made."""
    row, key = api_keys.issue(organization, name="test", by=None, **fields)
    ledger.release(ledger.reserve(organization, amount_micros=0, reference=f"first:{row.pk}", api_key=row))
    return key


def request_with(key: str, **fields) -> AdmissionRequest:
    values = {"model": catalogue.find("apex-latest"), "prompt_tokens": 20, "completion_tokens": 100, **fields}
    return AdmissionRequest(key=key, **values)


def completion_of(admission: Admission | Deferred) -> AdmittedCompletion:
    assert isinstance(admission, Admission)
    assert admission.completion is not None, admission
    return admission.completion


def result_of(completion: AdmittedCompletion, billed: BilledUsage | None = BILLED) -> CompletionResult:
    return CompletionResult(completion=completion, billed=billed, finish="stop", latency_ms=5, upstream="u")


def held(organization: Organization) -> int:
    return Wallet.objects.get(organization=organization).held_micros


def are_sound(*organizations: Organization) -> bool:
    return not any(list(ledger.verify(ledger.wallet_of(organization))) for organization in organizations)
