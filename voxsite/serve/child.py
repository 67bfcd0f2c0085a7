"""The entry point of each supervised process: `python -m voxsite.serve.child web`.

It makes the process end with the supervisor, sets its priority and thread counts, and then runs the program. Python
programs run inside this process and not by exec, because the hook for later forks lives in the interpreter. Containers
start their processes in the same way; there, the container ends what is left.

On Linux, the supervisor does not start an interpreter for each program: its fork goes on here, under the same name.
"""

import atexit
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import setproctitle

from voxsite import env
from voxsite.serve import embedded_redis, lifetime, programs

WAIT_FOR_REDIS_SECONDS = 20.0


def become(name: str) -> None:
    """Run the program of this name in this process. Returns when the program ends."""
    by_name = {program.name: program for program in programs.all_programs(os.environ)}
    if name not in by_name:
        sys.exit(f"voxsite.serve.child: there is no program {name!r}; there are {', '.join(by_name)}")
    program = by_name[name]
    # Redis gets SIGTERM, so that it can remove its socket.
    with_signal = signal.SIGTERM if program.name == "redis" else signal.SIGKILL
    supervisor_pid = env.text("VOXSITE_SUPERVISOR_PID")
    if supervisor_pid:
        lifetime.die_with_parent(parent_pid=int(supervisor_pid), with_signal=with_signal)
    os.nice(program.niceness)
    os.environ.update(program.environment)
    # libpq's variable: PostgreSQL's pg_stat_activity then says whose a connection is.
    os.environ["PGAPPNAME"] = f"voxsite {name}"
    if program.needs_redis and embedded_redis.is_meant_by(os.environ):
        socket_path = embedded_redis.socket_path(Path(os.environ["VOXSITE_DATA_DIR"]))
        embedded_redis.wait_until_answering(socket_path, seconds=WAIT_FOR_REDIS_SECONDS)

    first, *rest = program.command
    if first != "python":
        os.execv(first, program.command)  # noqa: S606 - our own command line, no shell
    lifetime.let_no_fork_outlive_this_process()
    if rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


def run_in_fork(name: str, *, environment: Mapping[str, str]) -> NoReturn:
    """Run the program of this name in this process, which has just been forked, and end the process.

    environment: that of the program. Its output goes to the file descriptors 1 and 2.
    """
    status = 1
    try:
        # An exec would have done so: a handler of the supervisor's must not take the program's signals.
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.update(environment)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]  # both are files
        # Operators and tests find a process by its command line, in `ps` for example.
        setproctitle.setproctitle(f"{sys.executable} -m voxsite.serve.child {name}")
        become(name)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - an interpreter prints these too, Ctrl-C among them
        traceback.print_exc()
    finally:
        # What an interpreter does at its end. A return would go on with the supervisor's work, in a second process.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    become(sys.argv[1])
