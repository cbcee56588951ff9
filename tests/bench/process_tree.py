"""A command and all processes below it, from start to exit: time, processor time and memory."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.1
# The kernel has to walk all pages of a process for it.
PROPORTIONAL_SECONDS = 0.5
NAMES = {
    "-Q retrieve": "retrieve worker", "milvus": "Milvus", "valkey": "Redis", "redis": "Redis",
    "worker.flower": "Flower", "worker.gateway": "gateway", "llamacpp": "model", "celery": "worker",
}  # fmt: skip


@dataclass
class TreeUsage:
    """`began` and `ended` are in seconds since the epoch. `cpu_s` counts every process that was waited for,
    `cpu_by_process` what was last seen of each kind. Resident memory counts shared pages once for each
    process, proportional memory once."""

    began: float
    ended: float = 0.0
    cpu_s: float = 0.0
    resident_mb: float = 0.0
    proportional_mb: float = 0.0
    cpu_by_process: dict[str, float] = field(default_factory=dict)
    resident_by_process: dict[str, float] = field(default_factory=dict)


def measure_tree(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], patience: float
) -> TreeUsage:
    """Run the command to its end. Raise RuntimeError, with its last words, unless it succeeds in time."""
    log = folder / "command.log"
    with log.open("wb") as output:
        usage = TreeUsage(time.time())
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, usage, ended))
        watcher.start()
        killer = threading.Timer(patience, process.kill)
        killer.start()
        _, status, spent = os.wait4(process.pid, 0)
        usage.ended = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        killer.cancel()
        ended.set()
        watcher.join()
    usage.cpu_s = spent.ru_utime + spent.ru_stime
    if process.returncode:
        raise RuntimeError(f"{command[:3]} ended with {process.returncode}: {log.read_text()[-500:]}")
    return usage


def _watch(root: int, usage: TreeUsage, ended: threading.Event) -> None:
    seen: dict[int, tuple[str, float]] = {}
    proportional_at = 0.0
    while not ended.wait(SAMPLE_SECONDS):
        tree = processes_below(root)
        resident: dict[str, float] = {}
        for pid, (cpu, bytes_) in tree.items():
            # A child has its parent's command until it has started its own, and none when it has ended.
            name = "command" if pid == root else _name(pid) or seen.get(pid, ("command",))[0]
            seen[pid] = name, cpu
            resident[name] = resident.get(name, 0.0) + bytes_ / 1e6
        if sum(resident.values()) > usage.resident_mb:
            usage.resident_mb, usage.resident_by_process = sum(resident.values()), resident
        if time.monotonic() - proportional_at > PROPORTIONAL_SECONDS:
            proportional_at = time.monotonic()
            usage.proportional_mb = max(usage.proportional_mb, sum(map(proportional_bytes, tree)) / 1e6)
    for name, cpu in seen.values():
        usage.cpu_by_process[name] = usage.cpu_by_process.get(name, 0.0) + cpu


def processes_below(root: int) -> dict[int, tuple[float, float]]:
    """Return processor seconds and resident bytes of the process and all below it."""
    children: dict[int, list[int]] = {}
    figures = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (stat := _read(folder / "stat")):
            # proc(5): state 3, ppid 4, utime 14, stime 15, rss 24.
            fields = stat.rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            cpu = (int(fields[11]) + int(fields[12])) / TICK
            figures[int(folder.name)] = cpu, float(int(fields[21]) * PAGE)
    below, tree = [root], {}
    while below:
        pid = below.pop()
        if pid in figures:
            tree[pid] = figures[pid]
            below += children.get(pid, [])
    return tree


def _name(pid: int) -> str:
    words = _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")
    return next((name for part, name in NAMES.items() if part in words), "")


def proportional_bytes(pid: int) -> float:
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
