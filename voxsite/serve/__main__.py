"""`python -m voxsite.serve`, which script/server runs: check, prepare, supervise, clean up."""

import multiprocessing
import os
import subprocess
import sys
import time

import setproctitle

from voxsite.serve import config, lifetime, preloading, programs, supervision


def main() -> int:
    """Run the server until a signal ends it. Returns the exit status."""
    started_at = time.time()
    # It finds the memory of the title, for all forks, only before the environment changes (setproctitle 1.3.8).
    setproctitle.getproctitle()
    try:
        server_config = config.read()
        config.require_port(server_config)
        config.require_data_dir(server_config)
        os.chdir(config.PROJECT_DIR)
        with config.sole_server_of(server_config.data_dir):
            os.environ.update(config.environment_for_children(server_config))
            os.environ["VOXSITE_SUPERVISOR_PID"] = str(os.getpid())
            os.environ["VOXSITE_STARTED_AT"] = str(started_at)
            lifetime.adopt_orphans()
            if preloading.is_possible():
                preloading.load()
            _prepare(server_config)
            _serve(server_config)
    except config.StartError as error:
        print(f"script/server: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _prepare(server_config: config.ServerConfig) -> None:
    if not server_config.is_development:
        _manage("check", "--deploy", "--fail-level", "ERROR")
        _manage("collectstatic", "--noinput", "--verbosity", "0")
        _manage("migrate", "--noinput", "--verbosity", "0")
    else:
        # Saves 45 seconds on a new database (docs/decisions/0010). Production runs all migrations, once.
        _manage("migrate_quickly", "--verbosity", "0")


def _manage(*arguments: str) -> None:
    run = _run_in_fork if preloading.is_possible() else _run_in_interpreter
    if run(arguments) != 0:
        raise config.StartError(f"`manage.py {arguments[0]}` failed; its output is above.")


def _run_in_fork(arguments: tuple[str, ...]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=_run_command, args=(arguments, os.getpid()))
    process.start()
    process.join()
    return process.exitcode


def _run_command(arguments: tuple[str, ...], parent_pid: int) -> None:
    # Only now: this module is loaded before anybody knows whether the settings can be.
    from django.core.management import execute_from_command_line

    lifetime.die_with_parent(parent_pid=parent_pid)
    execute_from_command_line(["manage.py", *arguments])


def _run_in_interpreter(arguments: tuple[str, ...]) -> int:
    parent_pid = os.getpid()
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "manage.py", *arguments],
        preexec_fn=lambda: lifetime.die_with_parent(parent_pid=parent_pid),
        check=False,
    )
    return done.returncode


def _serve(server_config: config.ServerConfig) -> None:
    try:
        supervision.run(programs.all_programs(os.environ), config_path=server_config.data_dir / "supervisor.conf")
    finally:
        lifetime.end_descendants()
        supervision.say("ended")


if __name__ == "__main__":
    sys.exit(main())
