"""A running script/server, and all processes that were ever seen below it."""

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.product import PROJECT_DIR, environment_of

START_SECONDS = 90
STOP_SECONDS = 60


class Server:
    """A running script/server."""

    def __init__(self, port: int, data_dir: Path) -> None:
        self.address = f"http://127.0.0.1:{port}/health"
        self.log_path = data_dir.parent / "server.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [PROJECT_DIR / "script" / "server"],
                env=environment_of(PORT=str(port), VOXSITE_DATA_DIR=str(data_dir), VOXSITE_WORKERS="2"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.ever_seen: set[psutil.Process] = set()

    def descendants(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.ever_seen.update(found)
        return found

    def named(self, name: str) -> set[int]:
        """Return the ids of the supervised processes of this name, without their forks."""
        found = set()
        for child in self.descendants():
            # one that has just died has no command line any more
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.ppid() == self.process.pid and " ".join(child.cmdline()).split()[-2:] == [
                    "voxsite.serve.child",
                    name,
                ]:
                    found.add(child.pid)
        return found

    def wait(self, condition: Callable[[], object], *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.address, timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def log(self) -> str:
        return self.log_path.read_text()

    def left(self) -> list[psutil.Process]:
        """Return what still runs of all that was ever seen below the server."""
        _, alive = psutil.wait_procs(self.ever_seen, timeout=STOP_SECONDS)
        return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
