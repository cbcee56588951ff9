"""A Procfile without containers: `python -m producer.local.procfile [--log-dir FOLDER] PROCFILE [NAME]...`

A line is `name: command`, for /bin/sh; `release` is run before the others and must succeed. What dies is
started again, until it has died five times in a minute; SIGTERM or Ctrl-C stops all in reverse order.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.core.errors import ServiceError, StarmillError, UsageError
from producer.local.supervisor import Service, Supervisor
from storage.logs import configure_logging
from storage.settings import load_settings

LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+):\s*(?P<command>\S.*)")
RELEASE = "release"


def read_procfile(path: Path) -> dict[str, str]:
    """Commands by name, in order. Raises UsageError with the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give the path of a Procfile") from None
    commands: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if not found:
            raise UsageError(f"{path}:{number}: expected `name: command`, found {line.strip()[:60]!r}")
        if found["name"] in commands:
            raise UsageError(
                f"{path}:{number}: {found['name']} is there already; give each a name of its own"
            )
        commands[found["name"]] = found["command"]
    return commands


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 stopped, 2 where something cannot start or keeps dying."""
    parser = argparse.ArgumentParser(prog="python -m producer.local.procfile", description=__doc__)
    parser.add_argument("procfile", type=Path)
    parser.add_argument("names", nargs="*", help="only these processes; default: all")
    parser.add_argument("--log-dir", type=Path, help="one file each; default: STARMILL_HOME/logs")
    options = parser.parse_args(argv)
    stop = threading.Event()

    def ask(*_: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        commands = _chosen(read_procfile(options.procfile), options.names)
        _run(commands, settings.root, options.log_dir or settings.root / "logs", stop)
    except StarmillError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _chosen(commands: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    if unknown := [name for name in names if name not in commands]:
        raise UsageError(f"no process {', '.join(unknown)}; there are {', '.join(commands)}")
    return {name: command for name, command in commands.items() if not names or name in (*names, RELEASE)}


def _run(commands: dict[str, str], home: Path, logs: Path, stop: threading.Event) -> None:
    folder = home / "procfile"
    for made in (folder, logs):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    if release := commands.pop(RELEASE, None):
        done = subprocess.run(_shell(release), stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise ServiceError(f"{RELEASE}: {release} ended with {done.returncode}; nothing was started")
    supervisor = Supervisor(folder)
    supervisor.stop_leftovers()
    try:
        for name, command in commands.items():
            supervisor.start(Service(name, _shell(command), logs / f"{name}.log", lambda: True))
            sys.stderr.write(f"{name}: {logs / name}.log\n")
        while not stop.wait(1):
            supervisor.check()
    finally:
        supervisor.stop()


def _shell(command: str) -> list[str]:
    """In the folder of this process, with this Python's commands first; signals reach the command itself."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return ["/bin/sh", "-c", f'cd "$1" && PATH="$2" exec {command}', "procfile", str(Path.cwd()), path]


if __name__ == "__main__":
    sys.exit(main())
