"""The process in which an answer meets its tests, inside the sandbox: `run_program` never returns.

This module enters as `inside` does. Answer and tests share one interpreter: what the answer must not reach is
bound before it runs.
"""

from __future__ import annotations

import builtins
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from models.adapters.sandbox.inside import Report

NOBODY = 65534
MEGABYTE = 1 << 20
MAX_OPEN_FILES, MAX_PENDING_SIGNALS = 256, 256
MAX_DETAIL = 500
# Of an answer's value, which may be a list of any length.
MAX_COMPARED = 1000
ANSWER, TESTS = "answer.py", "tests.py"


def run_program(job: dict[str, Any], proof: str, channel: int) -> None:
    """Run the forked process. Functions are bound first, before foreign code can replace them."""
    exit_, write, pid_now, join = os._exit, os.write, os.getpid, " ".join
    pid = pid_now()
    # The supervisor counts, too, unless it is another user.
    supervisors = 0 if _become_nobody() else 1
    _limit(job["limits"], job["limits"]["processes"] + supervisors)
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
        before = set(names)
        with_own_builtins = _guard_builtins(execute)
        with_own_builtins(answer, names)
        names["__builtins__"] = builtins
        if not job["entry_point"]:
            execute(tests, names)
        else:
            function = names[job["entry_point"]]
            # Names of the answer hide no built-in from the tests.
            hidden = (set(names) - before) & set(builtins.__dict__) - {job["entry_point"]}
            names = {name: names[name] for name in names if name not in hidden} if hidden else names
            execute(tests, names)
            names["check"](_refuse_always_equal(_guard_builtins(function), function))
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


def _guard_builtins(function: Any) -> Any:
    """Wrap `function` so that built-ins are the same after a call as before."""

    def called(*args: Any, **kwargs: Any) -> Any:
        before = builtins.__dict__.copy()
        try:
            return function(*args, **kwargs)
        finally:
            builtins.__dict__.update(before)

    return called


def _refuse_always_equal(call: Any, function: Any) -> Any:
    """Wrap `call` so that it returns no object that equals everything, alone or in a list, tuple, set or
    dict. It has the name of `function`."""
    number = int.from_bytes(os.urandom(8), "big")
    # Nothing honest equals what nobody can guess.
    unknown = (number, float(number), str(number), str(number).encode(), (number,), [number], {number},
               {number: number}, object())  # fmt: skip
    failed, every = AssertionError, BaseException

    def called(*args: Any, **kwargs: Any) -> Any:
        value = call(*args, **kwargs)
        values, count = [value], 0
        while values and count < MAX_COMPARED:
            each = values.pop()
            count += 1
            if type(each) is list or type(each) is tuple or type(each) is set or type(each) is frozenset:
                values += each
            elif type(each) is dict:
                values += [*each, *each.values()]
            for other in unknown:
                try:
                    equal = True if each == other else False  # noqa: SIM210 (`bool` may be the program's)
                except every:  # foreign objects have foreign methods
                    equal = False
                if equal:
                    raise failed("the value equals everything")
        return value

    called.__name__ = called.__qualname__ = getattr(function, "__name__", "candidate")
    return called


def _limit(limits: dict[str, int], processes: int) -> None:
    memory, disk = limits["memory_mb"] * MEGABYTE, limits["disk_mb"] * MEGABYTE
    seconds = limits["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, disk, disk),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES),
        (resource.RLIMIT_SIGPENDING, MAX_PENDING_SIGNALS, MAX_PENDING_SIGNALS),
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


def _become_nobody() -> bool:
    """Become another user and return True if root built the sandbox: limits of processes do not bind root."""
    if os.getuid() != 0:
        return False
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return True
