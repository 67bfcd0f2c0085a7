"""Runs a deliverer process, which sends webhooks to customers' servers."""

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from transcription.webhooks.deliverer import Deliverer


class Command(BaseCommand):
    help = "Send webhooks, and those that were not accepted again, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(run())


async def run() -> None:
    """Deliver until a signal."""
    deliverer = Deliverer()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, deliverer.stop)
    await deliverer.run()
