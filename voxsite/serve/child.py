"""The entry point of each supervised process: `python -m voxsite.serve.child web`.

It makes the process end with the supervisor, sets its priority and thread counts, and then runs the program. Python
programs run inside this process and not by exec, because the hook for later forks lives in the interpreter. Containers
start their processes in the same way; there, the container ends what is left.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

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


if __name__ == "__main__":
    become(sys.argv[1])
