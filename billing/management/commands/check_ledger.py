"""`manage.py check_ledger`: report where wallets, holds, limits or payments disagree with the ledger's entries."""

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from billing import ledger
from billing.models import Entry, Hold, Wallet


class Command(BaseCommand):
    help = "Compare wallets, holds, freezes, limits and payments with the ledger. Exit status 1 if they disagree."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--recent",
            action="store_true",
            help="As the clock does every night: all wallets, but only the entries and holds of the last two days.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        count = 0
        for fault in ledger.recent_faults(now=timezone.now()) if options["recent"] else ledger.faults():
            count += 1
            self.stdout.write(fault)
        self.stdout.write(
            f"{Wallet.objects.count()} wallets, {Entry.objects.count()} entries, "
            f"{Hold.objects.open().count()} open holds: {count or 'no'} fault{'' if count == 1 else 's'} "
            f"({time.monotonic() - began:.1f} s)."
        )
        if count:
            sys.exit(1)
