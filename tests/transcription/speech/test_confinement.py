from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transcription.speech import confinement, landlock, syscall_filter

PROJECT = Path(__file__).resolve().parents[3]
# A process that does what a decoder would do that a file has taken over: each deed by the C library, without Python's
# own care. It prints the error number, or "done".
DEEDS = """
import ctypes, os, resource, signal, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def tried(returned):
    print(ctypes.get_errno() if returned == -1 else "done", flush=True)
def call(number, *arguments):
    tried(libc.syscall(ctypes.c_long(number), *arguments))
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and Landlock are Linux's")
SECCOMP = pytest.mark.skipif(not syscall_filter.is_offered(), reason="this kernel offers no seccomp filters")
LANDLOCK = pytest.mark.skipif(landlock.version() < 6, reason="this kernel offers no Landlock of version 6 or newer")


def run(code: str, *, before: str = "", confine: str = "confinement.confine(memory_bytes=1 << 30, cpu_seconds=5)"):
    """Run code in a confined process and return what it prints."""
    program = f"""{DEEDS}
from transcription.speech import confinement, landlock, syscall_filter, system_calls
{before}
{confine}
try:
    {code}
except BaseException as error:
    print(type(error).__name__, getattr(error, "errno", ""), flush=True)
"""
    # Coverage would write a file at the end, which a confined process may not.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.long
@pytest.mark.parametrize(
    "deed", ["open('/etc/hostname')", "socket.socket()", "os.pipe()", "os.dup(1)", "bytearray(2 << 30)"]
)
def test_confined_process_can_do_little(deed):
    assert run(f"{deed}; print('done')").split()[0] in {"OSError", "PermissionError", "MemoryError"}


def test_confined_process_cannot_write(tmp_path):
    path = tmp_path / "loot"
    before = f"file = open({str(path)!r}, 'wb', buffering=0)"
    assert run("file.write(b'x')", before=before) in {"OSError 27", ""}
    assert path.stat().st_size == 0


@pytest.fixture
def victim(tmp_path):
    """A file that any process of this user may change, and a process that it may kill."""
    path = tmp_path / "victim"
    path.write_text("precious")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield path, process
        process.kill()


ON_FILES = {
    "unlink": "tried(libc.unlink({path}))",
    "rename": "tried(libc.rename({path}, {path} + b'2'))",
    "truncate": "tried(libc.truncate({path}, ctypes.c_long(0)))",
    "make a folder": "tried(libc.mkdir({path} + b'2', 0o700))",
    "link": "tried(libc.link({path}, {path} + b'2'))",
}
ON_PROCESSES = {
    "kill": "tried(libc.kill({pid}, signal.SIGKILL))",
    "ptrace": "tried(libc.ptrace(16, {pid}, None, None))",
}
BY_FILTER_ALONE = {
    "kill all": "tried(libc.kill(-1, 0))",
    "change the owner": "tried(libc.chmod({path}, 0))",
    "read another's memory": "tried(libc.process_vm_readv({pid}, None, 0, None, 0, 0))",
    "renice": "tried(libc.setpriority(0, {pid}, 19))",
    "limits of another": "tried(libc.prlimit({pid}, 7, None, ctypes.create_string_buffer(16)))",
    "open": "tried(libc.open({path}, 0))",
    "socket": "tried(libc.socket(1, 1, 0))",
    "socketpair": "tried(libc.socketpair(1, 1, 0, ctypes.create_string_buffer(8)))",
    "execute": "tried(libc.execv(b'/bin/true', (ctypes.c_char_p * 2)(b'true', None)))",
    "fork": "tried(libc.fork())",
    "signal by descriptor": "tried(libc.fcntl(0, 8, {pid}))",
    "io_uring": "call(425, 8, ctypes.create_string_buffer(120))",
    "bpf": "call(321, 0, None, 0)",
    "dumpable": "tried(libc.prctl(4, 1, 0, 0, 0))",
    "32 bits": "call(0x40000000 | 39)",
}


@pytest.mark.long
@SECCOMP
@pytest.mark.parametrize("deed", [*ON_FILES, *ON_PROCESSES, *BY_FILTER_ALONE])
def test_kernel_refuses_a_confined_process(deed, victim):
    path, process = victim
    code = {**ON_FILES, **ON_PROCESSES, **BY_FILTER_ALONE}[deed]
    assert run(code.format(path=os.fsencode(path), pid=process.pid)) == str(errno.EPERM)
    assert path.read_text() == "precious"
    assert process.poll() is None


@pytest.mark.long
@LANDLOCK
@pytest.mark.parametrize("deed", [*ON_FILES, *ON_PROCESSES])
def test_landlock_alone_refuses_files_and_other_processes(deed, victim):
    path, process = victim
    code = {**ON_FILES, **ON_PROCESSES}[deed].format(path=os.fsencode(path), pid=process.pid)
    confine = "system_calls.give_up_new_privileges(); landlock.restrict(landlock.version())"
    # EXDEV (18) is what a link into another folder gets.
    assert run(code, confine=confine) in {str(errno.EPERM), str(errno.EACCES), str(errno.EXDEV)}
    assert path.read_text() == "precious"
    assert process.poll() is None


@SECCOMP
def test_confined_process_may_start_threads():
    """Decoders of FFmpeg start some."""
    # What they print would be mixed: a text and its line end are two writes.
    code = "done = []; threads = [threading.Thread(target=done.append, args=(each,)) for each in range(3)]\n"
    code += "    [one.start() for one in threads]; [one.join() for one in threads]; print(sorted(done))"
    assert run(code) == "[0, 1, 2]"


@SECCOMP
def test_confined_process_may_end_itself():
    with pytest.raises(AssertionError, match="Aborted"):
        run("import faulthandler; faulthandler.enable(2); os.abort()")


@LINUX
def test_confined_process_gains_nothing_by_programs():
    read = "status = open('/proc/self/status')"
    assert "NoNewPrivs:\t1" in run("print(status.read())", before=read)


@pytest.mark.parametrize(
    ("has_seccomp", "version", "missing"),
    [(True, 1, []), (True, 0, ["Landlock"]), (False, 7, ["seccomp"]), (False, 0, ["seccomp", "Landlock"])],
)
def test_what_a_kernel_does_not_offer_is_named(monkeypatch, has_seccomp, version, missing):
    monkeypatch.setattr(syscall_filter, "is_offered", lambda: has_seccomp)
    monkeypatch.setattr(landlock, "version", lambda: version)
    assert confinement.missing_layers() == missing


def test_missing_layers_are_named():
    """Where a layer is missing, tests above are skipped, and this one says which."""
    if missing := confinement.missing_layers():
        pytest.skip(f"this kernel offers no {' and no '.join(missing)}")
    assert landlock.version() > 0
    assert syscall_filter.is_offered()
