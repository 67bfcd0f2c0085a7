"""Keeps the programs running and shows what they print.

It runs supervisord's classes in this process. They restart with back-off, stop in order and kill process groups. Three
things are added: the name of the process before each line (a subscriber to supervisord's log events), the end of
processes that leave their group (`lifetime`), and programs of Python that begin as forks of this process, which has
loaded Django (`preloading`). Rejected: honcho, which ends all processes when one ends, and circus, which brings its own
event loop and sockets.
"""

import json
import shlex
import sys
from pathlib import Path

from supervisor import events, loggers, supervisord
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions

from voxsite import env
from voxsite.serve import child, preloading
from voxsite.serve.programs import ANNOUNCE, Program

# A process that ends sooner than this is restarted after 1, 2, 3 ... seconds.
STARTED_SECONDS = 2
# supervisord must never give up, because the database may be away for an hour.
RETRIES = 1_000_000
# The name before the server's own lines.
SERVER = "server"


def run(programs: list[Program], *, config_path: Path) -> None:
    """Run the programs until SIGTERM, SIGINT or SIGHUP arrives and all of them have ended."""
    config_path.write_text(_config(programs))
    options = _Options()
    options.realize(["--configuration", str(config_path)])
    options.first = True
    options.test = False
    try:
        _Supervisor(options).main()
    except ExitNow:
        pass
    finally:
        options.close_logger()


def say(text: str) -> None:
    """Print one of the server's own lines."""
    _write(SERVER, text)


class _Options(ServerOptions):
    def cleanup_fds(self) -> None:
        """Close nothing: the original would also close the lock on the data folder."""

    def write_pidfile(self) -> None:
        """Write no file: the lock shows that a server runs, and is right after a crash too."""

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> None:
        """Run the program in this fork where that is possible. Supervisord calls this in the forked process."""
        if preloading.is_possible():
            child.run_in_fork(argv[-1], environment=env)
        super().execve(filename, argv, env)

    def make_logger(self) -> None:
        """Log nothing: the console below shows what people need to know."""
        self.logger = loggers.getLogger(self.loglevel)


class _Supervisor(supervisord.Supervisor):
    def runforever(self) -> None:
        # Not earlier, because run() removes all subscribers before it calls this.
        console = _Console()
        events.subscribe(events.ProcessLogStdoutEvent, console.show_output)
        events.subscribe(events.ProcessStateEvent, console.show_state)
        events.subscribe(events.SupervisorStoppingEvent, lambda _: say("stopping"))
        super().runforever()


class _Console:
    """Prints whole lines, each with the name of the process that wrote it."""

    def __init__(self) -> None:
        self.unfinished: dict[str, bytes] = {}

    def show_output(self, event: events.ProcessLogStdoutEvent) -> None:
        name = event.process.config.name
        shown_name = SERVER if name == ANNOUNCE else name
        *lines, rest = (self.unfinished.get(name, b"") + event.data).split(b"\n")
        # Bounds a "line" that never ends.
        self.unfinished[name] = rest[-65536:]
        for line in lines:
            _write(shown_name, line.decode(errors="replace").rstrip())

    def show_state(self, event: events.ProcessStateEvent) -> None:
        name = event.process.config.name
        if isinstance(event, events.ProcessStateExitedEvent) and not event.expected and name != ANNOUNCE:
            say(f"{name} ended; starting it again")
        elif isinstance(event, events.ProcessStateBackoffEvent):
            say(f"{name} ended right after its start; trying again in {event.process.backoff} s")


def _write(name: str, text: str) -> None:
    if env.text("VOXSITE_LOG_FORMAT") == "json":
        # A line of a log names its program itself. What is printed otherwise becomes a line of the same form.
        line = text if text.startswith("{") else json.dumps({"program": name, "message": text}, ensure_ascii=False)
    else:
        line = f"{name:<9}| {text}"
    try:
        print(line, flush=True)
    except OSError:
        # The reader of our output is gone, but the processes must still be supervised and stopped.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115, PTH123 - it stays open


def _config(programs: list[Program]) -> str:
    grouped = [program.name for program in programs if program.name != "redis"]
    sections = [
        # silent: supervisord prints nothing itself. The low limits: it never refuses to start because of them.
        _section("supervisord", nodaemon="true", silent="true", nocleanup="true", minfds="256", minprocs="20"),
        *(_program_section(program) for program in programs),
        # Groups start by priority and stop in the opposite order, so Redis stops after the processes that use it.
        _section("group:voxsite", programs=",".join(grouped), priority="20"),
    ]
    return "\n".join(sections)


def _program_section(program: Program) -> str:
    interpreter = shlex.quote(sys.executable).replace("%", "%%")
    return _section(
        f"program:{program.name}",
        command=f"{interpreter} -m voxsite.serve.child {program.name}",
        process_name=f"{program.name}-%(process_num)d" if program.count > 1 else program.name,
        numprocs=str(program.count),
        numprocs_start="1",
        priority="10",
        autorestart="true" if program.is_kept_running else "false",
        startsecs=str(STARTED_SECONDS) if program.is_kept_running else "0",
        startretries=str(RETRIES),
        stopwaitsecs=str(program.stop_seconds),
        stopasgroup="true",
        killasgroup="true",
        redirect_stderr="true",
        stdout_logfile="NONE",
        stdout_events_enabled="true",
    )


def _section(title: str, **lines: str) -> str:
    return "\n".join([f"[{title}]", *(f"{name}={value}" for name, value in lines.items()), ""])
