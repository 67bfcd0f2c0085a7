import pytest
from django.core.management import call_command

from accounts.models import Organization
from billing import ledger
from billing.models import Wallet
from tests.billing.conftest import fund


def test_sound_ledger_is_said_to_be(acme: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    fund(acme, 5)
    ledger.reserve(acme, amount_micros=1, reference="test:1")
    call_command("check_ledger")
    assert capsys.readouterr().out.startswith("1 wallets, 1 entries, 1 open holds: no faults (")


def test_fault_is_told_with_exit_status_1_and_left_as_it_is(
    acme: Organization, capsys: pytest.CaptureFixture[str]
) -> None:
    fund(acme, 5)
    Wallet.objects.of(acme).update(balance_micros=6)
    with pytest.raises(SystemExit) as caught:
        call_command("check_ledger")
    assert caught.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The balance is 6; the entries sum to 5.")
    assert "1 fault (" in lines[1]
    assert Wallet.objects.of(acme).get().balance_micros == 6
