"""Behind the wall: what `main` does there with one job.

The code of this module goes in through standard input, compiled, with the job after it: no file of it lies
behind the wall, and no program waits for the compiler. A supervisor forks the program's process, watches the
memory of all processes there, and reports how the program ended: a line `ready`, then a line
`OUTCOME SECONDS DETAIL`. When the supervisor ends, or is killed, everything behind the wall dies with it.
Only modules that cost next to nothing are imported: each program pays for them.
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
MOST_DETAIL = 500
ANSWER, TESTS = "answer.py", "tests.py"
# The modules `signal` and `typing` cost more than all the rest together.
SIGKILL, SIGXCPU = 9, 24

Report = tuple[str, str]


def main(job: dict[str, Any], result: int) -> None:
    """Never returns. `result` is the descriptor to report on."""
    _become_nobody()
    os.write(result, b"ready\n")
    ours, theirs = os.pipe()
    # Whoever does not know it cannot have come to the end of the tests.
    proof = os.urandom(16).hex()
    child = os.fork()
    if child == 0:
        os.close(result)
        os.close(ours)
        _live(job, proof, theirs)
    os.close(theirs)
    too_large = _watch(child, job["limits"]["memory_mb"] * MEGABYTE)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if too_large:
        outcome, detail = "memory", "more than the limit over all processes"
    else:
        outcome, detail = _told(ours, proof) or _ended(status, seconds, job["limits"]["cpu_seconds"])
    os.write(result, f"{outcome} {seconds:.6f} {' '.join(detail.split())}\n".encode())
    # Nothing of the program may keep this process from ending.
    os._exit(0)


def _become_nobody() -> None:
    """Root's limits of processes bind nobody: where the wall was built by root, root stays outside."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _watch(child: int, most: int) -> bool:
    """Wait for the child's end; whether all processes together came to need more than `most` bytes."""
    ended = select.poll()
    ended.register(os.pidfd_open(child), select.POLLIN)
    while not ended.poll(WATCH_MILLISECONDS):
        if _resident() > most:
            os.kill(child, SIGKILL)
            return True
    return False


def _resident() -> int:
    """Bytes that the processes behind the wall keep in memory."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/statm", "rb") as file:
                    total += int(file.read().split()[1]) * PAGE
            except (OSError, IndexError):
                continue
    return total


def _told(channel: int, proof: str) -> Report | None:
    """What the harness in the program's process said, if it came to say anything."""
    os.set_blocking(channel, False)
    try:
        said = os.read(channel, 65536)
    except BlockingIOError:
        return None
    for line in said.decode("utf-8", "replace").splitlines():
        word, _, report = line.partition(" ")
        if word == proof:
            outcome, _, detail = report.partition(" ")
            return outcome, detail
    return None


def _ended(status: int, seconds: float, most_seconds: int) -> Report:
    """Why the process ended before the last test did."""
    if not os.WIFSIGNALED(status):
        return "error", f"exited with {os.waitstatus_to_exitcode(status)} before the last test"
    number = os.WTERMSIG(status)
    if number == SIGXCPU or (number == SIGKILL and seconds >= most_seconds):
        return "timeout", f"more than {most_seconds} s of processor time"
    return "error", f"killed by signal {number}"


def _live(job: dict[str, Any], proof: str, channel: int) -> None:
    """The life of the forked process. Tools are bound before foreign code can replace them."""
    exit_, write, pid_now, join = os._exit, os.write, os.getpid, " ".join
    pid = pid_now()
    _limit(job["limits"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path += job["packages"]
    sys.argv[:] = ["answer.py"]
    try:
        report = _try(job)
    except BaseException as error:  # noqa: BLE001 (this is where foreign code ends)
        report = "error", _words(error)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001, S110 (the program's streams are its own affair)
        pass
    # A process that the program forked comes here, too.
    if pid_now() == pid:
        write(channel, join((proof, *report)).encode() + b"\n")
    exit_(0)


def _try(job: dict[str, Any]) -> Report:
    execute, missing, failed, too_large = exec, ImportError, AssertionError, MemoryError
    module = type(sys)("answer")
    sys.modules["answer"] = module
    names = module.__dict__
    tests = compile(job["tests"], TESTS, "exec")
    try:
        answer = compile(job["answer"], ANSWER, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return "syntax", _words(error)
    try:
        execute(compile(job["setup"], TESTS, "exec"), names)
        execute(answer, names)
        execute(tests, names)
        if job["entry_point"]:
            names["check"](_honest(names[job["entry_point"]], names))
    except failed as error:
        return "failed", _words(error)
    except too_large:
        return "memory", "more memory than the limit"
    except missing as error:
        return "unavailable" if _not_installed(error) else "error", _words(error)
    return "passed", ""


def _not_installed(error: ImportError) -> bool:
    """Whether the tests, or a package for want of another, asked for a module that is not there. What the
    answer itself asks for is its own mistake."""
    reason = error.__cause__ or error.__context__
    last, trace = "", error.__traceback__
    while trace:
        last, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return last != ANSWER and any(isinstance(each, ModuleNotFoundError) for each in (error, reason))


def _honest(function: Any, names: dict[str, Any]) -> Any:
    """`function`, whose value may not be of a class made to equal everything."""

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
        # This process, the supervisor and the first process behind the wall count as well.
        (resource.RLIMIT_NPROC, limits["processes"] + 2, limits["processes"] + 2),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def _words(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return " ".join(text[:MOST_DETAIL].encode("utf-8", "replace").decode().split())
    except BaseException:  # noqa: BLE001 (foreign exceptions have foreign methods)
        return "an exception that cannot be shown"
