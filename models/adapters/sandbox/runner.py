"""One program after another, or several at a time from several threads: each behind a wall of its own."""

from __future__ import annotations

import json
import marshal
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast, get_args

from models.adapters.sandbox import sandbox_command
from models.adapters.sandbox.sandbox_command import seccomp_filter
from models.core.errors import ServiceError
from models.core.programs import ExecutionOutcome, ExecutionVerdict, Program, ProgramLimits

CHUNK = 65536
# The harness says little; more of it is not from the harness.
MOST_REPORT = 65536
MOST_REASON = 300
_TRY = Program("import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()")


class Sandbox:
    """Programs of one kind of limits. Threads may share it; it keeps nothing open between programs."""

    def __init__(self, limits: ProgramLimits) -> None:
        self.limits = limits

    def check(self) -> None:
        """Raise ServiceError, in one line, unless programs can be run behind the wall."""
        verdict = self.run(_TRY)
        if verdict.outcome != "passed":
            raise ServiceError(f"the sandbox runs no program: {verdict.outcome}: {verdict.detail}")

    def run(self, program: Program) -> ExecutionVerdict:
        """What came of the program; it never runs unprotected. Blocks for `wall_seconds` at most.

        Raises ServiceError where the wall cannot be built.
        """
        if sys.platform != "linux":
            raise ServiceError("model-written code is run behind Linux namespaces: this is not Linux")
        started = time.monotonic()
        with self._process(program) as (process, results):
            said = _listen(process, results, self.limits, started + self.limits.wall_seconds)
        return said.verdict(process.returncode, time.monotonic() - started, self.limits)

    @contextmanager
    def _process(self, program: Program) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
        """The wall and the program behind it, dead when the block ends."""
        job = {**asdict(program), "limits": self.limits.model_dump(), "packages": sandbox_command.packages()}
        with ExitStack() as stack:
            rules = seccomp_filter()
            if rules is None:
                raise ServiceError(f"the sandbox knows no system calls of {os.uname().machine} machines")
            filter_ = stack.enter_context(_file_of(rules))
            input_ = stack.enter_context(_file_of(_harness() + marshal.dumps(job)))
            results, result = _pipe(stack)
            users = _Users(stack) if sandbox_command.as_root() else None
            theirs = users.theirs if users else None
            passed = [filter_.fileno(), result.fileno(), *(theirs or ())]
            process = stack.enter_context(
                _started(
                    sandbox_command.command(self.limits, filter_.fileno(), result.fileno(), theirs),
                    input_,
                    passed,
                )
            )
            # Its parent dies with it, and all processes behind the wall with both.
            stack.callback(process.kill)
            result.close()
            if users:
                users.give()
            yield process, results


def _started(command: list[str], input_: BinaryIO, passed: list[int]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdin=input_, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=passed,
            # Not even bubblewrap itself has variables: /proc shows them.
            env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ServiceError(f"no sandbox for model-written code: {command[0]}: {error.strerror}") from None


class _Users:
    """Root gives the wall two users: root who builds it, and nobody who runs the program."""

    def __init__(self, stack: ExitStack) -> None:
        self._told, self._tells = _pipe(stack)
        self._waits, self._go = _pipe(stack)
        self.theirs = (self._tells.fileno(), self._waits.fileno())

    def give(self) -> None:
        """Wait until bubblewrap says who its child is; it goes on once the child has its users. Where it
        ended instead, it said why on standard error."""
        self._tells.close()
        told = b""
        while b"}" not in told:
            chunk = self._told.read(CHUNK)
            if not chunk:
                return
            told += chunk
        pid = json.loads(told)["child-pid"]
        try:
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as users:
                    users.write(f"0 0 1\n{sandbox_command.NOBODY} {sandbox_command.NOBODY} 1\n")
            self._go.write(b"1")
        except OSError as error:
            raise ServiceError(f"the sandbox needs a second user, and gets none: {error}") from None


class _Said:
    """What was heard of a program, each part up to its limit."""

    def __init__(self, most_output: int) -> None:
        self.parts = {name: bytearray() for name in ("stdout", "stderr", "results")}
        self.most_output = most_output
        self.too_much = self.too_long = False

    def add(self, name: str, chunk: bytes) -> None:
        self.parts[name] += chunk
        output = len(self.parts["stdout"]) + len(self.parts["stderr"])
        self.too_much |= output > self.most_output or len(self.parts["results"]) > MOST_REPORT

    def verdict(self, code: int, seconds: float, limits: ProgramLimits) -> ExecutionVerdict:
        stdout, stderr = (self._text(name) for name in ("stdout", "stderr"))
        reports = self.parts["results"].decode("utf-8", "replace").splitlines()
        if not reports and not self.too_long:
            raise ServiceError(_why_no_wall(stderr, code))
        outcome: ExecutionOutcome = "error"
        detail, cpu_seconds = "the program ended its supervisor", 0.0
        if self.too_much:
            outcome, detail = "output_limit", f"more than {limits.output_kb} kB"
        elif len(reports) > 1:
            outcome, cpu_seconds, detail = _read(reports[1])
        elif self.too_long:
            outcome, detail = "timeout", f"more than {limits.wall_seconds} s"
        return ExecutionVerdict(outcome, detail, stdout, stderr, seconds, cpu_seconds)

    def _text(self, name: str) -> str:
        return self.parts[name][: self.most_output].decode("utf-8", "replace")


def _read(report: str) -> tuple[ExecutionOutcome, float, str]:
    outcome, seconds, detail = [*report.split(" ", 2), "", ""][:3]
    try:
        used = float(seconds)
    except ValueError:
        outcome = ""
    if outcome not in get_args(ExecutionOutcome):
        return "error", 0.0, "a report that cannot be read"
    # No database stores null characters.
    return cast("ExecutionOutcome", outcome), used, detail.replace("\0", "")


def _listen(
    process: subprocess.Popen[bytes], results: BinaryIO, limits: ProgramLimits, deadline: float
) -> _Said:
    """All that is said until everything behind the wall has ended; past a limit it is killed."""
    said = _Said(limits.output_kb << 10)
    with selectors.DefaultSelector() as waiting:
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr), ("results", results)):
            if stream is not None:
                waiting.register(stream, selectors.EVENT_READ, name)
        while waiting.get_map():
            ready = waiting.select(max(0.0, deadline - time.monotonic()))
            said.too_long = time.monotonic() >= deadline
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK)
                said.add(key.data, chunk)
                if not chunk:
                    waiting.unregister(key.fileobj)
            if said.too_long or said.too_much:
                break
    process.kill()
    process.wait()
    return said


@cache
def _harness() -> bytes:
    """The compiled code of `inside`, for this interpreter."""
    path = Path(__file__).with_name("inside.py")
    return marshal.dumps(compile(path.read_bytes(), "harness", "exec"))


@contextmanager
def _file_of(content: bytes) -> Iterator[BinaryIO]:
    """A file in memory: what is read from it is there, however long."""
    with os.fdopen(os.memfd_create("starmill"), "w+b", buffering=0) as file:
        file.write(content)
        file.seek(0)
        yield file


def _pipe(stack: ExitStack) -> tuple[BinaryIO, BinaryIO]:
    reads, writes = os.pipe()
    return (
        stack.enter_context(os.fdopen(reads, "rb", buffering=0)),
        stack.enter_context(os.fdopen(writes, "wb", buffering=0)),
    )


def _why_no_wall(stderr: str, code: int) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = (lines[-1] if lines else f"it ended with {code}")[:MOST_REASON]
    return (
        f"no sandbox for model-written code: {reason}; the kernel must let this user make namespaces "
        "(in a container: a seccomp profile that allows them), or set judge.execution to false"
    )
