"""Run programs, each in a sandbox of its own; several threads may run several at a time."""

from __future__ import annotations

import json
import marshal
import os
import re
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
from models.adapters.sandbox.system_calls import seccomp_filter
from models.core.errors import ServiceError
from models.core.programs import ExecutionOutcome, ExecutionVerdict, Program, ProgramLimits

CHUNK = 65536
# The harness writes little; a longer report is not from the harness.
MAX_REPORT = 65536
MAX_REASON = 300
# The first Linux that counts a user's processes in each namespace by itself.
PROCESSES_PER_NAMESPACE = (5, 14)
_TRIAL = Program("import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()")


class Sandbox:
    """Runs programs under the same limits. Threads may share it; it keeps nothing open between programs."""

    def __init__(self, limits: ProgramLimits) -> None:
        self.limits = limits

    def check(self) -> None:
        """Raise ServiceError, in one line, unless programs can run in the sandbox."""
        verdict = self.run(_TRIAL)
        if verdict.outcome != "passed":
            raise ServiceError(f"the sandbox runs no program: {verdict.outcome}: {verdict.detail}")

    def describe(self) -> str:
        """Return what the sandbox has on this machine, and what it has not."""
        user = "as another user" if sandbox_command.is_root() else "as the same user"
        shared = "" if _kernel() >= PROCESSES_PER_NAMESPACE else "; programs share one limit of processes"
        return f"{user}; memory of all processes is watched, not limited by a control group{shared}"

    def run(self, program: Program) -> ExecutionVerdict:
        """Run the program, never without protection, and block for `wall_seconds` at most.

        Raises ServiceError if the sandbox cannot be built.
        """
        if sys.platform != "linux":
            raise ServiceError("model-written code is run behind Linux namespaces: this is not Linux")
        started = time.monotonic()
        with self._process(program) as (process, results):
            output = _collect(process, results, self.limits, started + self.limits.wall_seconds)
        return output.verdict(process.returncode, time.monotonic() - started, self.limits)

    @contextmanager
    def _process(self, program: Program) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
        """Start the sandbox with the program; both are dead when the block ends."""
        job = {**asdict(program), "limits": self.limits.model_dump(), "packages": sandbox_command.packages()}
        with ExitStack() as stack:
            rules = seccomp_filter()
            if rules is None:
                raise ServiceError(f"the sandbox knows no system calls of {os.uname().machine} machines")
            filter_ = stack.enter_context(_file_of(rules))
            input_ = stack.enter_context(_file_of(_harness() + marshal.dumps(job)))
            results, result = _pipe(stack)
            users = _UserMapping(stack) if sandbox_command.is_root() else None
            handshake = users.handshake if users else None
            rules_fd, result_fd = filter_.fileno(), result.fileno()
            command = sandbox_command.bubblewrap_command(self.limits, rules_fd, result_fd, handshake)
            process = stack.enter_context(_start(command, input_, [rules_fd, result_fd, *(handshake or ())]))
            # All processes in the sandbox die with this one.
            stack.callback(process.kill)
            result.close()
            if users:
                users.write()
            yield process, results


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


def _start(command: list[str], input_: BinaryIO, descriptors: list[int]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdin=input_, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=descriptors,
            # /proc shows the environment of bubblewrap itself, so it is empty, too.
            env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ServiceError(f"no sandbox for model-written code: {command[0]}: {error.strerror}") from None


class _UserMapping:
    """The users that root gives the sandbox: root, who builds it, and nobody, who runs the program."""

    def __init__(self, stack: ExitStack) -> None:
        self._info, self._info_writer = _pipe(stack)
        self._block, self._go = _pipe(stack)
        self.handshake = (self._info_writer.fileno(), self._block.fileno())

    def write(self) -> None:
        """Wait for the process id of bubblewrap's child, map its users, and let it go on.

        If bubblewrap ends instead, it has written the reason to standard error.
        """
        self._info_writer.close()
        info = b""
        while b"}" not in info:
            chunk = self._info.read(CHUNK)
            if not chunk:
                return
            info += chunk
        pid = json.loads(info)["child-pid"]
        try:
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as users:
                    users.write(f"0 0 1\n{sandbox_command.NOBODY} {sandbox_command.NOBODY} 1\n")
            self._go.write(b"1")
        except OSError as error:
            raise ServiceError(f"the sandbox needs a second user, and gets none: {error}") from None


class _ProgramOutput:
    """The output and the report of a program, each up to its limit."""

    def __init__(self, max_output: int) -> None:
        self.parts = {name: bytearray() for name in ("stdout", "stderr", "results")}
        self.max_output = max_output
        self.too_much = self.too_long = False

    def add(self, name: str, chunk: bytes) -> None:
        self.parts[name] += chunk
        output = len(self.parts["stdout"]) + len(self.parts["stderr"])
        self.too_much |= output > self.max_output or len(self.parts["results"]) > MAX_REPORT

    def verdict(self, code: int, seconds: float, limits: ProgramLimits) -> ExecutionVerdict:
        stdout, stderr = (self._text(name) for name in ("stdout", "stderr"))
        reports = self.parts["results"].decode("utf-8", "replace").splitlines()
        if not reports and not self.too_long:
            raise ServiceError(_no_sandbox_message(stderr, code))
        outcome: ExecutionOutcome = "error"
        detail, cpu_seconds = "the program ended its supervisor", 0.0
        if self.too_much:
            outcome, detail = "output_limit", f"more than {limits.output_kb} kB"
        elif len(reports) > 1:
            outcome, cpu_seconds, detail = _parse_report(reports[1])
        elif self.too_long:
            outcome, detail = "timeout", f"more than {limits.wall_seconds} s"
        return ExecutionVerdict(outcome, detail, stdout, stderr, seconds, cpu_seconds)

    def _text(self, name: str) -> str:
        return self.parts[name][: self.max_output].decode("utf-8", "replace")


def _parse_report(report: str) -> tuple[ExecutionOutcome, float, str]:
    outcome, seconds, detail = [*report.split(" ", 2), "", ""][:3]
    try:
        used = float(seconds)
    except ValueError:
        outcome = ""
    if outcome not in get_args(ExecutionOutcome):
        return "error", 0.0, "a report that cannot be read"
    # Databases do not store null characters.
    return cast("ExecutionOutcome", outcome), used, detail.replace("\0", "")


def _collect(
    process: subprocess.Popen[bytes], results: BinaryIO, limits: ProgramLimits, deadline: float
) -> _ProgramOutput:
    """Read all output until every process in the sandbox has ended; kill them past a limit."""
    output = _ProgramOutput(limits.output_kb << 10)
    with selectors.DefaultSelector() as waiting:
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr), ("results", results)):
            if stream is not None:
                waiting.register(stream, selectors.EVENT_READ, name)
        while waiting.get_map():
            ready = waiting.select(max(0.0, deadline - time.monotonic()))
            output.too_long = time.monotonic() >= deadline
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK)
                output.add(key.data, chunk)
                if not chunk:
                    waiting.unregister(key.fileobj)
            if output.too_long or output.too_much:
                break
    process.kill()
    process.wait()
    return output


@cache
def _harness() -> bytes:
    """Return the code that runs inside, compiled for this interpreter."""
    paths = [Path(__file__).with_name(name) for name in ("tested_program.py", "inside.py")]
    return b"".join(marshal.dumps(compile(path.read_bytes(), "harness", "exec")) for path in paths)


@contextmanager
def _file_of(content: bytes) -> Iterator[BinaryIO]:
    """Yield a file in memory with this content, of any length."""
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


def _no_sandbox_message(stderr: str, code: int) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = (lines[-1] if lines else f"it ended with {code}")[:MAX_REASON]
    return (
        f"no sandbox for model-written code: {reason}; the kernel must let this user make namespaces "
        "(in a container: a seccomp profile that allows them), or set judge.execution to false"
    )
