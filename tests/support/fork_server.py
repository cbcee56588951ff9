"""A process that has imported what commands import, and forks for each command.

A command still has a process of its own, with its own environment, folder, output and exit code. A fork takes
0.1 s of processor time, a new interpreter 0.8 s.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
# None of them starts a thread, which a fork would lose.
MODULES = ("producer.cli.run", "producer.cli.runs", "producer.cli.results", "producer.cli.doctor")
MAX_REQUEST = 1 << 20


@cache
def fork_server() -> ForkServer:
    """Return the one server of this process, which ends with it."""
    return ForkServer()


class ForkServer:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def run(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the console script. Raise TimeoutExpired after `timeout` seconds."""
        request = json.dumps({"command": command, "env": env, "cwd": str(cwd)}).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            files = [output.fileno(), errors.fileno(), theirs.fileno()]
            socket.send_fds(self._socket, [request], files)
            theirs.close()
            pid = int(ours.recv(32))
            ours.settimeout(timeout)
            try:
                code = int(ours.recv(32))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, code, output.read(), errors.read())


def serve(requests: socket.socket) -> None:
    """Fork for each request. Return in the process of a command, and at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, files, _, _ = socket.recv_fds(requests, MAX_REQUEST, 3)
        if not request:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _watch(json.loads(request), *files)
        for file in files:
            os.close(file)


def _watch(request: dict[str, Any], output: int, errors: int, status: int) -> None:
    """Report number and exit code of the command. Return in its process."""
    pid = os.fork()
    if pid:
        os.write(status, b"%d" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):
            os.write(status, b"%d" % code)
        os._exit(0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    for file in (output, errors, status):
        os.close(file)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["command"]


if __name__ == "__main__":
    for module in MODULES:
        import_module(module)
    # A collection in a child would write to, and so copy, all memory that it shares with the server.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as from_tests:
        serve(from_tests)
    from producer.cli import main

    main()
