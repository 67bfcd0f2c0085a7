"""The engine process: loads the speech models once and serves clips of all jobs over a local socket."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from transcription import recognition
from transcription.speech.engines import host
from transcription.speech.errors import UnknownEngine


class Command(BaseCommand):
    help = "Load the speech engine and serve it to the workers of this machine, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        name = recognition.engine_name()
        try:
            host.serve(name, address=settings.ENGINE_SOCKET)
        except UnknownEngine as error:
            raise CommandError(f"The engine {name!r} is not part of this installation. Set VOXSITE_ENGINE.") from error
