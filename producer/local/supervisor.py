"""Start child processes, restart those that die, and stop all with the parent."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.adapters.private_files import PRIVATE_UMASK
from models.core.errors import ServiceError
from producer.local.child_process import dying_with_parent, use_early_worker
from storage.broker import EXIT_UNUSABLE, UNUSABLE_PREFIX

log = logging.getLogger(__name__)
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.01
MAX_DEATHS = 5
DEATHS_WITHIN = 60.0


@dataclass(slots=True)
class Service:
    """A process to keep alive. `ready` tells whether it can be used; no run needs an `optional` one. Others
    use one that `serves`, which is stopped after them. It is started once `delay` seconds are over."""

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    serves: bool = False
    delay: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DEATHS))


class Supervisor:
    """Starts and stops services side by side. `folder` is their working directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: list[Service] = []
        self._later: list[tuple[float, Service]] = []

    def start(self, *services: Service) -> None:
        """Start the services and wait until all are ready. Raise ServiceError with the last line of a log."""
        for service in services:
            if service.delay:
                self._later.append((time.monotonic() + service.delay, service))
            else:
                self.services.append(service)
                self._spawn(service)
        deadline = time.monotonic() + START_SECONDS
        for service in services:
            if not service.delay:
                self._wait_for(service, deadline)

    def _wait_for(self, service: Service, deadline: float) -> None:
        while not service.ready():
            if service.process is None or service.process.poll() is not None:
                raise ServiceError(f"{service.name} did not start: {_last_line(service.log)}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{service.name} was not ready in {START_SECONDS:.0f} s; see {service.log}"
                )
            time.sleep(LOOK_SECONDS)

    def check(self) -> None:
        """Restart services that died, and start those whose delay is over. Call it about every second. Raise
        ServiceError if one keeps dying."""
        now = time.monotonic()
        due = [service for at, service in self._later if at <= now]
        self._later = [(at, service) for at, service in self._later if at > now]
        for service in due:
            self.services.append(service)
            self._spawn(service)
        for service in self.services:
            if service.process is None or service.process.poll() is None:
                continue
            if service.process.returncode == EXIT_UNUSABLE:
                raise ServiceError(_why_unfit(service.log))
            now = time.monotonic()
            service.deaths.append(now)
            if len(service.deaths) == MAX_DEATHS and now - service.deaths[0] < DEATHS_WITHIN:
                why = f"{service.name} died {MAX_DEATHS} times in a minute: {_last_line(service.log)}"
                if not service.optional:
                    raise ServiceError(why)
                log.warning("%s; going on without it", why)
                service.process = None
                continue
            log.warning("%s died with %s; starting it again", service.name, service.process.returncode)
            self._spawn(service)

    def stop(self) -> None:
        """Ask the services to finish, those that serve others after these. Kill those that do not in time."""
        for serves in (False, True):
            processes = {}
            for service in self.services:
                if service.serves is serves and service.process and service.process.poll() is None:
                    processes[service.name] = service.process
                    # An optional one only shows: nothing is lost.
                    (service.process.kill if service.optional else service.process.terminate)()
            _wait_for_ends(processes)
        self._pids.unlink(missing_ok=True)

    def stop_leftovers(self) -> None:
        """Stop processes that a killed parent left behind, so that no data folder has two owners."""
        for line in self._pids.read_text().splitlines() if self._pids.exists() else []:
            pid, started, *_ = [*line.split("\t"), ""]
            if not started or _start_time(int(pid)) != started:
                continue
            log.warning("stopping process %s, left behind by an earlier run", pid)
            _stop_process(int(pid))
        self._pids.unlink(missing_ok=True)

    def _new_process(self, service: Service) -> subprocess.Popen[bytes]:
        service.log.touch(mode=0o600)
        with service.log.open("ab") as output:
            return subprocess.Popen(
                dying_with_parent(service.command),
                cwd=self.folder,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                umask=PRIVATE_UMASK,
                # Ctrl-C is for the parent: it stops the children in order.
                start_new_session=True,
            )

    @property
    def _pids(self) -> Path:
        return self.folder / "pids"

    def _spawn(self, service: Service) -> None:
        service.process = use_early_worker(
            service.command, self.folder, service.environment, service.log
        ) or self._new_process(service)
        alive = [(each.process.pid, each.command) for each in self.services if each.process]
        lines = [f"{pid}\t{_start_time(pid)}\t{' '.join(command)}\n" for pid, command in alive]
        # Replaced as a whole: who reads it at any moment finds every process.
        draft = self._pids.with_suffix(".new")
        draft.write_text("".join(lines))
        draft.replace(self._pids)


def _wait_for_ends(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    for name, process in processes.items():
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        if process.poll() is None:
            log.warning("%s does not stop; killing it", name)
            process.kill()
            process.wait()


def _start_time(pid: int) -> str:
    """Return when a process was started, or "". It tells apart processes that reuse an id."""
    if sys.platform == "linux":
        try:
            # The name in parentheses may hold anything. Fields of proc(5): state 3, starttime 22.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607 (its folder differs by system)
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return shown.stdout.strip()


def _stop_process(pid: int) -> None:
    for sent, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _start_time(pid):
                return
            time.sleep(0.1)


def _why_unfit(path: Path) -> str:
    """Return the worker's own message; its child processes may have logged more after it."""
    lines = [
        line for line in path.read_text(errors="replace").splitlines() if line.startswith(UNUSABLE_PREFIX)
    ]
    return f"{lines[-1]} (log: {path})" if lines else _last_line(path)


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'its log is empty'} (log: {path})"
