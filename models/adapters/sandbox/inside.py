"""The code that runs inside the sandbox: `main` does one job there.

This module enters compiled, through standard input, with the job after it: the sandbox holds no file of it,
and no program waits for the compiler. A supervisor forks the program's process, watches the memory of all
processes, and reports how the program ended: a line `ready`, then a line `OUTCOME SECONDS DETAIL`. When the
supervisor ends or is killed, all processes in the sandbox die with it. Every program pays for the imports, so
only the cheapest modules are imported.
"""

from __future__ import annotations

import os
import resource
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOBODY = 65534
WATCH_MILLISECONDS = 25
MEGABYTE = 1 << 20
PAGE = resource.getpagesize()
MAX_DETAIL = 500
ANSWER, TESTS = "answer.py", "tests.py"
# Importing `signal` and `typing` would cost more than all the rest.
SIGKILL, SIGXCPU = 9, 24

Report = tuple[str, str]


def main(job: dict[str, Any], result: int) -> None:
    """Run the job and never return. `result` is the descriptor for the report."""
    _become_nobody()
    os.write(result, b"ready\n")
    ours, theirs = os.pipe()
    # Only the harness knows this, so only the harness can report that all tests have run.
    proof = os.urandom(16).hex()
    child = os.fork()
    if child == 0:
        os.close(result)
        os.close(ours)
        _run_program(job, proof, theirs)
    os.close(theirs)
    too_large = _watch(child, job["limits"]["memory_mb"] * MEGABYTE)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if too_large:
        outcome, detail = "memory", "more than the limit over all processes"
    else:
        report = _read_report(ours, proof)
        outcome, detail = report or _exit_report(status, seconds, job["limits"]["cpu_seconds"])
    os.write(result, f"{outcome} {seconds:.6f} {' '.join(detail.split())}\n".encode())
    # The program must not keep this process from ending.
    os._exit(0)


def _become_nobody() -> None:
    """Become another user if root built the sandbox: the limit of processes does not bind root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _watch(child: int, max_bytes: int) -> bool:
    """Wait for the child's end. Kill it and return True if all processes need more than `max_bytes`."""
    ended = select.poll()
    ended.register(os.pidfd_open(child), select.POLLIN)
    while not ended.poll(WATCH_MILLISECONDS):
        if _resident() > max_bytes:
            os.kill(child, SIGKILL)
            return True
    return False


def _resident() -> int:
    """Return the bytes in memory of all processes in the sandbox."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/statm", "rb") as file:
                    total += int(file.read().split()[1]) * PAGE
            except (OSError, IndexError):
                continue
    return total


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


def _run_program(job: dict[str, Any], proof: str, channel: int) -> None:
    """Run the forked process. Functions are bound first, before foreign code can replace them."""
    exit_, write, pid_now, join = os._exit, os.write, os.getpid, " ".join
    pid = pid_now()
    _limit(job["limits"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path += job["packages"]
    sys.argv[:] = ["answer.py"]
    try:
        report = _execute(job)
    except BaseException as error:  # noqa: BLE001 (foreign code ends here)
        report = "error", _error_text(error)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001, S110 (the program may have closed its streams)
        pass
    # A process that the program forked also comes here.
    if pid_now() == pid:
        write(channel, join((proof, *report)).encode() + b"\n")
    exit_(0)


def _execute(job: dict[str, Any]) -> Report:
    execute, missing, failed, too_large = exec, ImportError, AssertionError, MemoryError
    module = type(sys)("answer")
    sys.modules["answer"] = module
    names = module.__dict__
    tests = compile(job["tests"], TESTS, "exec")
    try:
        answer = compile(job["answer"], ANSWER, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return "syntax", _error_text(error)
    try:
        execute(compile(job["setup"], TESTS, "exec"), names)
        execute(answer, names)
        execute(tests, names)
        if job["entry_point"]:
            names["check"](_refuse_always_equal(names[job["entry_point"]], names))
    except failed as error:
        return "failed", _error_text(error)
    except too_large:
        return "memory", "more memory than the limit"
    except missing as error:
        return "unavailable" if _not_installed(error) else "error", _error_text(error)
    return "passed", ""


def _not_installed(error: ImportError) -> bool:
    """Return whether the tests, or a package, miss a module. An import in the answer is its own mistake."""
    reason = error.__cause__ or error.__context__
    last, trace = "", error.__traceback__
    while trace:
        last, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return last != ANSWER and any(isinstance(each, ModuleNotFoundError) for each in (error, reason))


def _refuse_always_equal(function: Any, names: dict[str, Any]) -> Any:
    """Wrap `function` so that it cannot return an object of its own class that equals everything."""

    def called(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        equal = type(value).__eq__
        if getattr(equal, "__globals__", None) is names and (value == object()) is True:
            raise AssertionError("the value equals everything")
        return value

    called.__name__ = called.__qualname__ = getattr(function, "__name__", "candidate")
    return called


def _limit(limits: dict[str, int]) -> None:
    memory, disk = limits["memory_mb"] * MEGABYTE, limits["disk_mb"] * MEGABYTE
    seconds = limits["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, disk, disk),
        # This process, the supervisor and the sandbox's first process count, too.
        (resource.RLIMIT_NPROC, limits["processes"] + 2, limits["processes"] + 2),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def _error_text(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return " ".join(text[:MAX_DETAIL].encode("utf-8", "replace").decode().split())
    except BaseException:  # noqa: BLE001 (foreign exceptions have foreign methods)
        return "an exception that cannot be shown"
