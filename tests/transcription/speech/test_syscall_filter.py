"""The filter of system calls, run by an interpreter of its own: what each architecture's kernel would answer."""

import errno
import struct

import pytest

from transcription.speech import syscall_filter

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, MISSING = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
PID = 4711
# System calls whose numbers are of the table asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
ATTACKS = {
    "x86_64": {"open": 2, "openat": 257, "socket": 41, "fork": 57, "execve": 59, "kill": 62, "ptrace": 101},
    "aarch64": {"openat": 56, "socket": 198, "execve": 221, "kill": 129, "unlinkat": 35, "ptrace": 117},
}  # fmt: skip


def answer(machine, number, *arguments, audit=None):
    """Return what the filter returns for a call. Interprets classic BPF as linux/filter.h defines it."""
    data = struct.pack("<IIQ6Q", number, audit or machine.audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program = syscall_filter._instructions(machine, own_pid=PID)
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                position += if_true if accumulator == value else if_false
            case 0x06:
                return value
            case _:
                raise AssertionError(f"no instruction: {code:#x}")


@pytest.fixture(params=sorted(ATTACKS))
def machine(request):
    return syscall_filter._MACHINES[request.param]


def test_calls_of_a_decoder_pass_and_all_others_are_refused(machine):
    free = set(machine.numbers) - {"clone", "clone3", "tgkill", "newfstatat", "setpriority", "prctl"}
    numbers = {machine.numbers[name] for name in free}
    conditional = set(machine.numbers.values()) - numbers
    for number in range(600):
        if number not in conditional:
            assert answer(machine, number) == (ALLOWED if number in numbers else REFUSED), number


@pytest.mark.parametrize(("name", "number"), [(name, number) for name in ATTACKS for number in ATTACKS[name].values()])
def test_attack_is_refused_whatever_its_arguments(name, number):
    for arguments in ((), (1, 2, 3, 4, 5, 6), (2**64 - 1,) * 6):
        assert answer(syscall_filter._MACHINES[name], number, *arguments) == REFUSED


def test_call_of_another_architecture_ends_the_process(machine):
    other = next(one for one in syscall_filter._MACHINES.values() if one is not machine)
    assert answer(machine, machine.numbers["read"], audit=other.audit) == KILLED
    # x32: the architecture of x86_64, with numbers of its own.
    assert answer(machine, machine.numbers["read"] | 0x40000000) == REFUSED


def test_threads_may_be_started_and_processes_not(machine):
    clone, thread, fork = machine.numbers["clone"], 0x3D0F00, 0x01200011
    assert (answer(machine, clone, thread), answer(machine, clone, fork)) == (ALLOWED, REFUSED)
    # The C library falls back to clone only if clone3 does not exist.
    assert answer(machine, machine.numbers["clone3"], 1) == MISSING


def test_signals_go_to_the_process_itself_alone(machine):
    number = machine.numbers["tgkill"]
    assert (answer(machine, number, PID, 1, 6), answer(machine, number, PID + 1, 1, 6)) == (ALLOWED, REFUSED)


def test_priority_is_that_of_the_process_itself(machine):
    number = machine.numbers["setpriority"]
    assert (answer(machine, number, 0, 0, 10), answer(machine, number, 2, 0, 10)) == (ALLOWED, REFUSED)
    assert answer(machine, number, 0, 1, 10) == REFUSED


def test_a_thread_may_be_named_and_nothing_else_changed(machine):
    number = machine.numbers["prctl"]
    assert (answer(machine, number, 15), answer(machine, number, 38), answer(machine, number, 22)) == (
        ALLOWED, REFUSED, REFUSED,
    )  # fmt: skip


def test_files_are_asked_for_by_descriptor(machine):
    number = machine.numbers["newfstatat"]
    assert (answer(machine, number, 3, 0, 0, 0x1000), answer(machine, number, 3, 0, 0, 0)) == (ALLOWED, REFUSED)
