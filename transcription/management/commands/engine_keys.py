"""Makes the keys with which engines and workers of different hosts know each other."""

from typing import Any

from django.core.management.base import BaseCommand

from transcription.speech.engines import curve


class Command(BaseCommand):
    help = "Print a new pair of keys for the hosts with engines and one for their clients, as environment variables."

    def handle(self, *args: Any, **options: Any) -> None:
        engine, client = curve.make(), curve.make()
        self.stdout.write(
            "# Hosts with engines that listen on tcp (VOXSITE_ENGINE_LISTEN):\n"
            f"VOXSITE_ENGINE_SECRET_KEY={engine.secret}\n"
            f"VOXSITE_ENGINE_CLIENTS={client.public}\n"
            "# Hosts that use them (web, workers):\n"
            f"VOXSITE_ENGINE_CLIENT_SECRET_KEY={client.secret}\n"
            f"# The address of an engine: tcp://{engine.public}@HOST:PORT"
        )
