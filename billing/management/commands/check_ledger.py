"""`manage.py check_ledger`: does all money agree with the book? Tells, and never repairs."""

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand

from billing import ledger
from billing.models import Entry, Hold, Wallet


class Command(BaseCommand):
    help = "Compare wallets, holds, freezes and limits with the book. Exit status 1 if anything disagrees."

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        count = 0
        for fault in ledger.faults():
            count += 1
            self.stdout.write(fault)
        self.stdout.write(
            f"{Wallet.objects.count()} wallets, {Entry.objects.count()} entries, "
            f"{Hold.objects.open().count()} open holds: {count or 'no'} fault{'' if count == 1 else 's'} "
            f"({time.monotonic() - began:.1f} s)."
        )
        if count:
            sys.exit(1)
