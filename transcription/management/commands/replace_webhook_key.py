"""Replaces the key that signs webhooks at once, for when strangers may have it."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from transcription.webhooks import keys


class Command(BaseCommand):
    help = "Sign webhooks with a new key from now on, and stop publishing all others. The clock rotates keys by itself."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(keys.replace_now(now=timezone.now()))
