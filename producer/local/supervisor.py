"""Child processes that are restarted when they die, and that do not outlive their parent."""

from __future__ import annotations

import contextlib
import ctypes
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

from models.errors import ServiceError
from storage.broker import UNFIT, UNFIT_SAYS

log = logging.getLogger(__name__)
START_SECONDS = 60.0
STOP_SECONDS = 30.0
MOST_DEATHS = 5
DEATHS_WITHIN = 60.0
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Service:
    """A process to keep alive. `ready` tells whether it can be used yet; nothing needs an `optional` one."""

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_DEATHS))


class Supervisor:
    """Starts services in order and stops them in reverse. `folder` is their working directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: list[Service] = []

    def start(self, service: Service) -> None:
        """Start and wait until it is ready. Raises ServiceError with its last words."""
        self.services.append(service)
        self._spawn(service)
        deadline = time.monotonic() + START_SECONDS
        while not service.ready():
            if service.process is None or service.process.poll() is not None:
                raise ServiceError(f"{service.name} did not start: {_last_words(service.log)}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{service.name} was not ready in {START_SECONDS:.0f} s; see {service.log}"
                )
            time.sleep(0.05)

    def check(self) -> None:
        """Restart what died; called every second or so. Raises ServiceError if it keeps dying."""
        for service in self.services:
            if service.process is None or service.process.poll() is None:
                continue
            if service.process.returncode == UNFIT:
                raise ServiceError(_why_unfit(service.log))
            now = time.monotonic()
            service.deaths.append(now)
            if len(service.deaths) == MOST_DEATHS and now - service.deaths[0] < DEATHS_WITHIN:
                why = f"{service.name} died {MOST_DEATHS} times in a minute: {_last_words(service.log)}"
                if not service.optional:
                    raise ServiceError(why)
                log.warning("%s; going on without it", why)
                service.process = None
                continue
            log.warning("%s died with %s; starting it again", service.name, service.process.returncode)
            self._spawn(service)

    def stop(self) -> None:
        """Ask each to finish, the last started first; kill what has not after a while."""
        for service in reversed(self.services):
            if service.process is None or service.process.poll() is not None:
                continue
            service.process.terminate()
            try:
                service.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("%s does not stop; killing it", service.name)
                service.process.kill()
                service.process.wait()
        self._pids.unlink(missing_ok=True)

    def stop_leftovers(self) -> None:
        """End what a killed parent left behind, so that no data folder has two owners."""
        for line in self._pids.read_text().splitlines() if self._pids.exists() else []:
            pid, _, command = line.partition(" ")
            if _command_of(int(pid)) != command:
                continue
            log.warning("stopping process %s, left behind by an earlier run", pid)
            _end(int(pid))
        self._pids.unlink(missing_ok=True)

    @property
    def _pids(self) -> Path:
        return self.folder / "pids"

    def _spawn(self, service: Service) -> None:
        with service.log.open("ab") as output:
            service.process = subprocess.Popen(
                service.command,
                cwd=self.folder,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the parent: it stops the children in order.
                start_new_session=True,
                # One system call, whose library is loaded: nothing that another thread could hold a lock of.
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        alive = [each.process.pid for each in self.services if each.process]
        self._pids.write_text("".join(f"{pid} {_command_of(pid)}\n" for pid in alive))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _command_of(pid: int) -> str:
    """The command line of a living process, or nothing."""
    if sys.platform == "linux":
        try:
            return (
                Path(f"/proc/{pid}/cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
                .strip()
            )
        except OSError:
            return ""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 (where it lies differs by system)
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return shown.stdout.strip()


def _end(pid: int) -> None:
    for sent, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _command_of(pid):
                return
            time.sleep(0.1)


def _why_unfit(path: Path) -> str:
    """What the worker said; processes of its own may have said more after it."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.startswith(UNFIT_SAYS)]
    return f"{lines[-1]} (log: {path})" if lines else _last_words(path)


def _last_words(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'it said nothing'} (log: {path})"
