"""Run each probe in the sandbox and measure what it reached: `python -m tests.support.sandbox_probes [WORD]`.

Memory is seen from outside, every few milliseconds: `own` is that of the program's processes and folders,
`host` the loss of the whole machine's free memory, which others disturb. Both are peaks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from models.adapters.sandbox.runner import Sandbox
from models.core.programs import ExecutionVerdict, Program
from tests.support.cheating_programs import CHEATS
from tests.support.limit_probes import LIMITS, PROBES

MEGABYTE = 1 << 20
SAMPLE_SECONDS = 0.005
FOLDERS = ("tmp", "dev/shm")


@dataclass
class Reached:
    """Peaks of one program."""

    own_mb: float = 0.0
    host_mb: float = 0.0
    processes: int = 0
    files: int = 0
    sockets: int = 0

    def sample(self, others: set[int], free_before: int) -> None:
        self.host_mb = max(self.host_mb, (free_before - _free_bytes()) / MEGABYTE)
        pids = [pid for child in _children(os.getpid()) - others for pid in _descendants(child)]
        # Without the sandbox's own two: bubblewrap and the supervisor.
        self.processes = max(self.processes, len(pids) - 2)
        used = sum(_proportional_bytes(pid) for pid in pids)
        for pid in pids[::-1]:
            with contextlib.suppress(OSError, IndexError, ValueError):
                network = Path(f"/proc/{pid}/net/sockstat").read_text(encoding="ascii")
                folders = [os.statvfs(f"/proc/{pid}/root/{folder}") for folder in FOLDERS]
                # Before bubblewrap has built the sandbox, these are the machine's own.
                if all(each.f_blocks * each.f_frsize == LIMITS.disk_mb * MEGABYTE for each in folders):
                    self.sockets = max(self.sockets, int(network.split()[2]))
                    used += sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in folders)
                    self.files = max(self.files, *(each.f_files - each.f_ffree for each in folders))
                    break
        self.own_mb = max(self.own_mb, used / MEGABYTE)

    def __str__(self) -> str:
        figures = {"processes": self.processes, "files": self.files, "sockets": self.sockets}
        return ", ".join(f"{figure:,} {name}" for name, figure in figures.items() if figure > 1)


@dataclass
class Observer:
    """Samples while its block lasts, in a thread."""

    reached: Reached = field(default_factory=Reached)

    def __enter__(self) -> Reached:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(_children(os.getpid()), _free_bytes()))
        self._thread.start()
        return self.reached

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self, others: set[int], free_before: int) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.reached.sample(others, free_before)


def observe(sandbox: Sandbox, program: Program) -> tuple[ExecutionVerdict, Reached]:
    with Observer() as reached:
        verdict = sandbox.run(program)
    return verdict, reached


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/meminfo has no MemAvailable")


def _children(pid: int) -> set[int]:
    pids: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                path = Path(f"/proc/{pid}/task/{thread}/children")
                pids |= {int(word) for word in path.read_text(encoding="ascii").split()}
    return pids


def _descendants(pid: int) -> list[int]:
    return [pid, *(below for child in sorted(_children(pid)) for below in _descendants(child))]


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def main(word: str = "") -> None:
    """Print a table of all probes, or of those whose name or limit has the word."""
    sandbox = Sandbox(LIMITS)
    lines = ["| probe | limit | reached | own MB | host MB | verdict |", "|---|---|---|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    for name, (limit, program) in PROBES.items():
        if word in name or word in limit:
            verdict, reached = observe(sandbox, program)
            said = verdict.detail or verdict.stdout.strip()[-60:]
            print(f"| {name} | {limit} | {reached} | {reached.own_mb:,.0f} | {reached.host_mb:,.0f} "
                  f"| {verdict.outcome}: {said} |", flush=True)  # fmt: skip
    print("\n| cheat | verdict |\n|---|---|")
    for name, (_, program) in CHEATS.items():
        if word in name:
            verdict = sandbox.run(program)
            print(f"| {name} | {verdict.outcome}: {verdict.detail} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
