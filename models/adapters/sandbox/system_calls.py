"""The filter of system calls, as a classic BPF program.

It closes the parts of the kernel that no honest program of a few lines needs: new namespaces and mounts,
tracing, keys, BPF, io_uring, sockets of a network, and memory that neither the limits nor the supervisor see.
"""

from __future__ import annotations

import platform
import struct
from errno import ENOSYS, EPERM

# Numbers by machine, from the kernel's unistd.h.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438,
    "mount_setattr": 442, "memfd_secret": 447,
}  # fmt: skip
_X86_64 = {
    "shmget": 29, "semget": 64, "msgget": 68, "ptrace": 101, "setpriority": 141, "pivot_root": 155,
    "mount": 165, "umount2": 166, "init_module": 175, "io_setup": 206, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "ioprio_set": 251, "inotify_init": 253, "migrate_pages": 256,
    "unshare": 272, "splice": 275, "tee": 276, "vmsplice": 278, "move_pages": 279, "inotify_init1": 294,
    "perf_event_open": 298, "fanotify_init": 300, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "finit_module": 313, "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "io_setup": 0, "inotify_init1": 26, "ioprio_set": 30, "umount2": 39, "mount": 40, "pivot_root": 41,
    "vmsplice": 75, "splice": 76, "tee": 77, "unshare": 97, "kexec_load": 104, "init_module": 105,
    "ptrace": 117, "setpriority": 140, "msgget": 186, "semget": 190, "shmget": 194, "add_key": 217,
    "request_key": 218, "keyctl": 219, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
    "fanotify_init": 262, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
    "finit_module": 273, "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
# Refused for the supervisor, whose process id is 1: signals, and what slows or starves it.
_COMMON_ON_PROCESS = {"pidfd_open": 434}
_X86_64_ON_PROCESS = {
    "kill": 62, "rt_sigqueueinfo": 129, "sched_setparam": 142, "sched_setscheduler": 144, "tkill": 200,
    "sched_setaffinity": 203, "tgkill": 234, "rt_tgsigqueueinfo": 297, "prlimit64": 302, "sched_setattr": 314,
}  # fmt: skip
_AARCH64_ON_PROCESS = {
    "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122, "kill": 129, "tkill": 130,
    "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "prlimit64": 261, "sched_setattr": 274,
}  # fmt: skip
# (audit architecture, denied, denied on the supervisor, clone, socket, setsockopt)
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64, _X86_64_ON_PROCESS, 56, 41, 54),
    "aarch64": (0xC00000B7, _AARCH64, _AARCH64_ON_PROCESS, 220, 198, 208),
}
_CLONE3 = 435
_X32 = 0x40000000
# Any CLONE_NEW* flag.
_NEW_NAMESPACE = 0x7E020000
_SUPERVISOR = 1
_UNIX = 1
# A socket holds no more than it does at first, which the supervisor counts.
_SO_SNDBUF, _SO_SNDBUFFORCE = 7, 32
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
Instruction = tuple[int, int, int, int]


def seccomp_filter(machine: str = "") -> bytes | None:
    """Return a machine's filter (default: this one's) as `struct sock_filter[]`; None if unknown."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    architecture, denied, on_process, clone, socket, setsockopt = known
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        _end(_KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_refuse(_AT_LEAST, _X32, EPERM),
        # The flags of clone3 lie in memory, which no filter can read; libraries fall back to clone.
        *_refuse(_EQUAL, _CLONE3, ENOSYS),
    ]
    for number in sorted([*denied.values(), *_COMMON.values()]):
        program += _refuse(_EQUAL, number, EPERM)
    for number in sorted([*on_process.values(), *_COMMON_ON_PROCESS.values()]):
        program += _only_if(number, _refuse(_EQUAL, _SUPERVISOR, EPERM))
    program += _only_if(clone, _refuse(_ANY_BIT, _NEW_NAMESPACE, EPERM))
    program += _only_if(socket, [(_EQUAL, 1, 0, _UNIX), _end(_ERROR | EPERM)])
    sizes = [*_refuse(_EQUAL, _SO_SNDBUF, EPERM), *_refuse(_EQUAL, _SO_SNDBUFFORCE, EPERM)]
    program += _only_if(setsockopt, sizes, _THIRD_ARGUMENT)
    program.append(_end(_ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _end(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _refuse(test: int, value: int, error: int) -> list[Instruction]:
    """Return the error if the test holds for the loaded value."""
    return [(test, 0, 1, value), _end(_ERROR | error)]


def _only_if(number: int, then: list[Instruction], argument: int = _FIRST_ARGUMENT) -> list[Instruction]:
    """Run `then` on an argument of one system call, and allow the call unless `then` returns."""
    return [(_EQUAL, 0, 2 + len(then), number), (_LOAD, 0, 0, argument), *then, _end(_ALLOW)]
