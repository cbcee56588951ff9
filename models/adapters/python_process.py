"""The user's own Python, trusted, in processes beside the worker: its loops and crashes end only themselves.

A process reads JSON lines {"source", "file", "function", "arguments"} and answers each with {"value"} or
{"error", "line"}. It gets no environment but what Python itself needs, so no key reaches it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from models.core.errors import TaskFolderError
from models.core.experiment.task_folder import load_module

# The variables of the environment that a process gets.
PASSED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
STARTUP_SECONDS = 30.0
LONGEST_REPLY = 16_000_000  # bytes
WATCH_SECONDS = 2.0


class PythonProcesses:
    """Processes that call functions of task modules; each serves one call at a time. Thread-safe."""

    def __init__(self, file: str = "task.py") -> None:
        self._file = file
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def call(self, source: str, function: str, arguments: list[Any], seconds: float) -> Any:
        """Return what `function` of the module `source` returns for `arguments`, both as JSON.

        Raise TaskFolderError with file and line if it raises, takes longer than `seconds`, ends its process,
        or returns no JSON, or too much.
        """
        question = {"source": source, "file": self._file, "function": function, "arguments": arguments}
        with self._process() as process:
            reply = process.ask(question, seconds)
        if reply is None:
            problem = f"{function} took longer than {seconds:g} seconds, or ended its process"
            raise TaskFolderError(self._file, None, problem)
        if "error" in reply:
            raise TaskFolderError(self._file, reply["line"], reply["error"])
        return reply["value"]

    def close(self) -> None:
        """End the processes that serve no call."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    @contextlib.contextmanager
    def _process(self) -> Iterator[_Process]:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or _Process()
        try:
            yield process
        finally:
            if process.is_alive:
                with self._lock:
                    self._idle.append(process)


class _Process:
    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._child = subprocess.Popen(
            [sys.executable, "-m", __spec__.name], env=environment | {"PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip
        self._starts = True
        self.is_alive = True

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Return the reply; None if none came in time, and then the process is ended."""
        assert self._child.stdin
        assert self._child.stdout
        until = time.monotonic() + seconds + (STARTUP_SECONDS if self._starts else 0)
        self._starts = False
        line = b""
        try:
            self._child.stdin.write(json.dumps(question).encode() + b"\n")
            while not line.endswith(b"\n"):
                ready, _, _ = select.select([self._child.stdout], [], [], max(0.0, until - time.monotonic()))
                part = os.read(self._child.stdout.fileno(), 1 << 16) if ready else b""
                if not part or len(line) > LONGEST_REPLY:
                    self.kill()
                    return None
                line += part
        except OSError:
            self.kill()
            return None
        reply: dict[str, Any] = json.loads(line)
        return reply

    def kill(self) -> None:
        self.is_alive = False
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()


def _serve() -> None:
    # What the module prints must not mix with replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            module = load_module(question["source"], question["file"])
            text = _reply(module.call(question["function"], *question["arguments"]))
        except TaskFolderError as error:
            text = json.dumps({"error": error.problem, "line": error.line})
        except (TypeError, ValueError, RecursionError) as error:
            problem = f"{question['function']} returned what cannot be kept as JSON: {error}"
            text = json.dumps({"error": problem, "line": None})
        replies.write(text + "\n")
        replies.flush()


def _reply(value: Any) -> str:
    text = json.dumps({"value": value}, allow_nan=False)
    if len(text) >= LONGEST_REPLY:
        raise ValueError(f"{len(text):,} characters, more than {LONGEST_REPLY:,}")
    return text


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    _serve()
