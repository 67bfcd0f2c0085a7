"""The processes of the server, how each is started, and in which order workers empty the queues of jobs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voxsite import engines
from voxsite.serve import embedded_redis

ANNOUNCE = "announce"
QUEUES = ("interactive", "standard", "bulk")
IMPORTS_QUEUE = "imports"


@dataclass(frozen=True)
class Program:
    """One kind of process.

    command: `python` as its first word stands for the running interpreter (see `child`); all else is executed.
    niceness: added to the supervisor's; 0 for web, so that pages answer while the machine transcribes.
    """

    name: str
    command: list[str]
    niceness: int = 0
    count: int = 1
    stop_seconds: int = 4
    needs_redis: bool = False
    is_kept_running: bool = True
    environment: dict[str, str] = field(default_factory=dict)


def all_programs(environ: Mapping[str, str]) -> list[Program]:
    """Return the programs for an environment, as `config.environment_for_children` makes it."""
    # Whoever prepares the server runs Django's checks. In each process they would load all pages: 30 MB and a second.
    manage = ["python", "manage.py"]
    # Warnings only: RQ logs every few minutes that it cleans each of its registries, whatever LOGGING says of it.
    run_queues = [*manage, "rqworker", "--skip-checks", "--verbosity", "0"]
    programs = [
        # One or several processes (VOXSITE_WEB_PROCESSES), which `voxsite.serve.web_processes` keeps running.
        Program(
            "web",
            ["python", "-m", "voxsite.serve.web"],
            stop_seconds=_web_stop_seconds(environ),
            environment=_threads(1, environ),
        ),
        Program(
            "worker",
            # RQ waits for work for 15 s less than the ttl, and writes a heartbeat each time.
            [*run_queues, "--worker-class", "transcription.worker.Worker", "--worker-ttl", "20", *QUEUES],
            # A lower priority than the engine, because workers wait for it.
            niceness=10,
            count=int(environ.get("VOXSITE_WORKERS") or 1),
            needs_redis=True,
            environment=_threads(1, environ),
        ),
        # Waits for the servers of customers, many at once. The workers' places are for work.
        Program(
            "importer",
            [*run_queues, "--worker-class", "transcription.jobs.base_worker.Importer", IMPORTS_QUEUE],
            niceness=5,
            needs_redis=True,
            environment=_threads(1, environ),
        ),
        *_engines(environ),
        Program(
            "clock", [*manage, "clock", "--skip-checks"], niceness=5, needs_redis=True, environment=_threads(1, environ)
        ),
        Program(
            "deliverer", [*manage, "deliver_webhooks", "--skip-checks"], niceness=5, environment=_threads(1, environ)
        ),
        Program(ANNOUNCE, ["python", "-m", "voxsite.serve.announce"], niceness=5, is_kept_running=False),
    ]
    if embedded_redis.is_meant_by(environ):
        programs.insert(0, Program("redis", embedded_redis.command(Path(environ["VOXSITE_DATA_DIR"]))))
    return programs


def _web_stop_seconds(environ: Mapping[str, str]) -> int:
    """Return how long web may take to end: it serves on, finishes what is open, and ends a moment later."""
    drain_seconds = int(environ.get("VOXSITE_WEB_DRAIN_SECONDS") or 0)
    grace_seconds = int(environ.get("VOXSITE_WEB_GRACE_SECONDS") or 3)
    return drain_seconds + grace_seconds + 1


def _engines(environ: Mapping[str, str]) -> list[Program]:
    """Return one program for each engine process, because each has a device and a socket of its own."""
    count = len(engines.devices())
    threads = _threads(_engine_threads(count), environ)
    return [
        Program(
            "engine" if number == 1 else f"engine-{number}",
            ["python", "manage.py", "engine", "--skip-checks", "--number", str(number)],
            niceness=5,
            # Time to finish the current batch.
            stop_seconds=8,
            environment=threads,
        )
        for number in range(1, count + 1)
    ]


def _engine_threads(engine_count: int) -> int:
    """Return the threads of each engine process. One core is left to web and the workers, if there are several."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (cores - 1) // max(1, engine_count))


def _threads(count: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Set the thread counts of native libraries, unless the environment already does.

    By default each library uses one thread per core in every process, and waiting OpenMP threads spin: the same
    transcription took 20 times longer (measured on two busy cores).
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    wanted = {name: str(count) for name in names} | {"OMP_WAIT_POLICY": "PASSIVE"}
    return {name: value for name, value in wanted.items() if name not in environ}
