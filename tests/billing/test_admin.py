from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Organization, User
from billing import ledger
from billing.models import Entry, Hold, Wallet
from tests.billing.conftest import fund


@pytest.mark.parametrize("model", [Wallet, Entry, Hold])
def test_operator_reads_and_cannot_write(
    acme: Organization, client_of: Callable[[User], Client], model: type[Wallet | Entry | Hold]
) -> None:
    fund(acme, 100)
    ledger.reserve(acme, amount_micros=1, reference="job:1")
    client = client_of(User.objects.create_superuser("root@example.com"))
    name = f"admin:billing_{model.__name__.lower()}"
    row = reverse(f"{name}_change", args=[model.objects.get().pk])
    assert client.get(reverse(f"{name}_changelist")).status_code == 200
    assert client.get(row).status_code == 200
    assert client.post(row, {}).status_code == 403
    assert client.get(reverse(f"{name}_add")).status_code == 403
    assert client.post(reverse(f"{name}_delete", args=[model.objects.get().pk]), {"post": "yes"}).status_code == 403
