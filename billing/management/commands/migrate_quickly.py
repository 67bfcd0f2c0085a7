from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from billing import stripe_tables


class Command(BaseCommand):
    help = "Migrate. On a database that has never known dj-stripe, make its tables in one piece: 45 seconds less."

    def handle(self, *args: Any, **options: Any) -> None:
        quiet = {"interactive": False, "verbosity": options["verbosity"]}
        if stripe_tables.are_missing():
            # dj-stripe's tables have foreign keys to organizations.
            call_command("migrate", "accounts", **quiet)
            stripe_tables.create_and_record()
        call_command("migrate", **quiet)
