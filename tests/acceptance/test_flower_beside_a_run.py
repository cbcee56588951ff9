"""`starmill run --local` starts Flower, says how to log in, and needs it for nothing."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from tests.openai_server.process import OpenAIServer
from tests.support.flower_process import fetch
from tests.support.pipeline import Ended, Home, home_with_indexes_of, wait_until

SAYS = re.compile(r"Flower: (http://127\.0\.0\.1:\d+), user starmill, password in (.+)")
pytestmark = pytest.mark.timeout(300)


def test_flower_is_reachable_during_a_run_and_its_death_ends_nothing(
    finished: Ended, server: OpenAIServer, tmp_path: Path
) -> None:
    server.configure(latency_ms=10_000)
    home = Home(home_with_indexes_of(finished.home, tmp_path / "home").path, flower=True)
    with home.started("run", finished.experiment, "--local", "--new") as process:
        lines = lines_of(process)
        url, file = wait_until(
            lambda: SAYS.search("".join(lines).replace("\n", " \n")), "where Flower is"
        ).groups()
        password = Path(file.strip())
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        login = f"starmill:{password.read_text().strip()}"
        wait_until(lambda: answers(f"{url}/api/tasks", login) == 200, "Flower answers")
        assert answers(f"{url}/metrics", None) == 401
        assert not [
            line for line in home.processes().values() if login.partition(":")[2] in line.split(" PATH=")[0]
        ]
        first = home.service("worker.flower")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: home.services("worker.flower") - {first}, "another Flower")
        server.configure()
        process.wait(240)
        assert process.returncode in {0, 1}
    assert not home.processes()
    log = (home.path / "logs" / "flower.log").read_text()
    assert login.partition(":")[2] not in log + "".join(lines)


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    """Return its lines on standard error; the list grows."""
    lines: list[str] = []
    assert process.stderr is not None
    threading.Thread(target=lines.extend, args=(iter(process.stderr.readline, ""),), daemon=True).start()
    return lines


def answers(url: str, login: str | None) -> int:
    """The status, or 0 where nobody listens."""
    try:
        return fetch(url, login)[0]
    except OSError:
        return 0
