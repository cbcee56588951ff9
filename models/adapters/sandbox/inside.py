"""The code that runs inside the sandbox: `main` does one job there.

This module enters compiled, through standard input, with the job after it: the sandbox holds no file of it,
and no program waits for the compiler. A supervisor forks the program's process, watches all that follow from
it, and reports how the program ended: a line `ready`, then a line `OUTCOME SECONDS DETAIL`. The supervisor is
the first process of its namespace: no signal from there reaches it, nobody there sees it in /proc, and all of
them die when it ends. Every program pays for the imports, so only the cheapest modules are imported.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # unlike `signal`, it costs nothing
import os
import resource
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MEGABYTE = 1 << 20
# Each file with a byte in it takes a page of `disk_mb`; this many files may be empty.
FILES_PER_MEGABYTE = 256
FOLDERS = ("/tmp", "/dev/shm")  # noqa: S108 (both are in the sandbox)
MIN_WAIT, MAX_WAIT = 1, 25
# More than one processor writes into new memory.
BYTES_PER_MILLISECOND = 4 * MEGABYTE
# Importing `signal` and `typing` would cost more than all the rest.
SIGKILL, SIGXCPU = 9, 24

Report = tuple[str, str]


def main(job: dict[str, Any], result: int, run_program: Callable[[dict[str, Any], str, int], None]) -> None:
    """Run the job and never return, like `run_program`. `result` is the descriptor for the report."""
    # The only signal that Python handles, so the only one that could come through.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    os.write(result, b"ready\n")
    ours, theirs = os.pipe()
    starts, start = os.pipe()
    # Only the harness knows this, so only the harness can report that all tests have run.
    proof = os.urandom(16).hex()
    child = os.fork()
    if child == 0:
        for descriptor in (result, ours, start):
            os.close(descriptor)
        os.read(starts, 1)
        os.close(starts)
        run_program(job, proof, theirs)
    os.close(theirs)
    limits = job["limits"]
    # The child's: nobody, not even this process, sees this one's.
    sockets = os.open(f"/proc/{child}/net/sockstat", os.O_RDONLY)
    os.write(start, b"1")
    end, seconds = _watch(child, sockets, limits)
    if isinstance(end, int):
        end = _read_report(ours, proof) or _exit_report(end, seconds, limits["cpu_seconds"])
    outcome, detail = end
    os.write(result, f"{outcome} {seconds:.6f} {' '.join(detail.split())}\n".encode())
    # Kills the rest. The program must not keep this process from ending.
    os._exit(0)


def _watch(child: int, sockets: int, limits: dict[str, int]) -> tuple[int | Report, float]:
    """Wait for the child's end and return its status, and the seconds of processor time; return a report as
    soon as all processes together, or the folders in memory, are past a limit. `sockets` counts sockets."""
    ended = select.poll()
    ended.register(os.pidfd_open(child), select.POLLIN)
    socket_bytes, processors = _socket_bytes(), os.cpu_count() or 1
    max_bytes, max_files = limits["memory_mb"] * MEGABYTE, limits["disk_mb"] * FILES_PER_MEGABYTE
    while True:
        status = _reap(child)
        used, seconds, processes = _usage()
        if status is not None:
            return status, seconds
        # The first line counts all sockets of the namespace, also those on their way in another socket.
        used += int(os.pread(sockets, 64, 0).split(None, 3)[2]) * socket_bytes
        if used > max_bytes:
            return ("memory", "more than the limit over all processes"), seconds
        if seconds > limits["cpu_seconds"]:
            return ("timeout", f"more than {limits['cpu_seconds']} s of processor time"), seconds
        for folder in FOLDERS:
            usage = os.statvfs(folder)
            if usage.f_files - usage.f_ffree > max_files:
                return ("error", f"more than {max_files} files in {folder}"), seconds
        # The rest can be filled no sooner than this.
        fastest = BYTES_PER_MILLISECOND * (processors if processes > 1 else 1)
        ended.poll(max(MIN_WAIT, min(MAX_WAIT, (max_bytes - used) // fastest)))


def _reap(child: int) -> int | None:
    """Return the child's status if it has ended. Orphans end here, too, and would count as processes."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in {0, child}:
            return status if pid else None


def _usage() -> tuple[int, float, int]:
    """Return bytes in memory, seconds of processor time and number of all processes but this one."""
    used = ticks = count = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                with open(f"/proc/{name}/status", "rb") as file:
                    status = file.read()
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            count += 1
            ticks += sum(map(int, fields[11:15]))
            used += sum(_kilobytes(status, key) << 10 for key in (b"VmRSS:", b"VmSwap:", b"VmPTE:"))
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used, ticks / os.sysconf("SC_CLK_TCK") + reaped.ru_utime + reaped.ru_stime, count


def _kilobytes(status: bytes, key: bytes) -> int:
    """Return a figure of /proc/PID/status; a process that is ending has none."""
    _, _, rest = status.partition(key)
    return int(rest.split(None, 1)[0]) if rest else 0


def _socket_bytes() -> int:
    """Return the bytes that a socket may hold: what was sent and nobody has read is in no process."""
    try:
        with open("/proc/sys/net/core/wmem_default", "rb") as file:
            return 2 * int(file.read())
    except OSError:  # before Linux 5.17, in a namespace of its own
        return 2 * 212992


def _read_report(channel: int, proof: str) -> Report | None:
    """Return the report of the harness in the program's process; None if it did not get that far."""
    os.set_blocking(channel, False)
    try:
        content = os.read(channel, 65536)
    except BlockingIOError:
        return None
    for line in content.decode("utf-8", "replace").splitlines():
        word, _, report = line.partition(" ")
        if word == proof:
            outcome, _, detail = report.partition(" ")
            return outcome, detail
    return None


def _exit_report(status: int, seconds: float, max_seconds: int) -> Report:
    """Explain why the process ended before the last test."""
    if not os.WIFSIGNALED(status):
        return "error", f"exited with {os.waitstatus_to_exitcode(status)} before the last test"
    number = os.WTERMSIG(status)
    if number == SIGXCPU or (number == SIGKILL and seconds >= max_seconds):
        return "timeout", f"more than {max_seconds} s of processor time"
    return "error", f"killed by signal {number}"
