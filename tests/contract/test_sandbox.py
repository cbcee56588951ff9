"""The wall against hostile programs: each ends in a verdict, and harms nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.adapters.sandbox.runner import Sandbox
from models.adapters.sandbox.sandbox_command import bubblewrap
from models.adapters.sandbox.system_calls import seccomp_filter
from models.core.errors import ServiceError
from models.core.programs import ExecutionVerdict, Program, ProgramLimits
from tests.support import forbidden, hostile, limit_probes
from tests.support.cheating_programs import CHEATS
from tests.support.pipeline import wait_until
from tests.support.sandbox_probes import observe

SECRET = "a-marked-secret-9f2c"
LIMITS = ProgramLimits(cpu_seconds=1, wall_seconds=8, memory_mb=256, disk_mb=4, processes=16, output_kb=64)

# As a worker does with a rationale that is judged by tests.
WORKER = """
import asyncio, os, socket
from pathlib import Path
from models.core.programs import Program, ProgramLimits
from storage.settings import Settings
from worker.clients import Clients
held = open("secret")
os.set_inheritable(held.fileno(), True)
listening = socket.socket(socket.AF_UNIX)
listening.bind("socket")
listening.listen()
clients = Clients(Settings(home=Path("home")), "worker")
program = Program(Path("program.py").read_text())
verdict = asyncio.run(clients.execute(program, ProgramLimits(), lambda: None))
print(verdict.outcome, verdict.detail, verdict.stdout, sep=chr(10), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    opened = Sandbox(LIMITS)
    try:
        opened.check()
    except ServiceError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    return opened


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server on this machine; a sandboxed program must not reach it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    for above in (tmp_path, *tmp_path.parents):
        if above.owner() == tmp_path.owner() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o755)
    tmp_path.chmod(0o777)
    return tmp_path


def children(pid: int) -> set[int]:
    """Living processes that the process started."""
    shown = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return {int(line.split()[0]) for line in shown.stdout.splitlines() if not line.endswith("ps")}


def verdicts(sandbox: Sandbox, programs: dict[str, Program]) -> dict[str, ExecutionVerdict]:
    """Several at a time: some only wait for their end."""
    before = children(os.getpid())
    with ThreadPoolExecutor(6) as pool:
        outcomes = dict(zip(programs, pool.map(sandbox.run, programs.values()), strict=True))
    assert children(os.getpid()) <= before
    return outcomes


def test_harmless_programs_pass(sandbox: Sandbox) -> None:
    outcomes = verdicts(sandbox, hostile.RIGHT)
    assert {name: verdict for name, verdict in outcomes.items() if verdict.outcome != "passed"} == {}
    assert not Path("/tmp/starmill-escaped").exists()


def test_wrong_programs_do_not_pass(sandbox: Sandbox) -> None:
    outcomes = verdicts(sandbox, hostile.WRONG)
    wrong = {
        name: verdict
        for name, verdict in outcomes.items()
        if verdict.outcome == "passed" or name.rpartition(": ")[2] not in {"any", verdict.outcome}
    }
    assert wrong == {}
    for verdict in outcomes.values():
        assert len(verdict.stdout) + len(verdict.stderr) <= 2 * LIMITS.output_kb << 10


@pytest.mark.parametrize("name", forbidden.FORBIDDEN)
def test_forbidden_action_fails_inside_the_sandbox(
    sandbox: Sandbox, name: str, port: int, folder: Path
) -> None:
    verdict = sandbox.run(Program(forbidden.FORBIDDEN[name].format(port=port, folder=folder)))
    assert verdict.outcome == "passed", verdict
    assert SECRET not in verdict.stdout + verdict.stderr
    assert not (folder / "escaped").exists()


# By their verdict: what stops the probe, or how much it may hold in the end.
STOPPED = {
    "eleven processes": "memory", "eleven, the supervisor stopped": "memory",
    "eleven, the supervisor starved": "memory", "eleven, the supervisor limited": "memory",
    "eleven, the supervisor overwritten": "memory", "shared mappings": "memory",
    "unread Unix sockets": "memory", "empty files": "error", "links with long names": "error",
}  # fmt: skip
LOOPS = ("eleven endless loops", "a loop in one child after the other")
HELD = {
    "files in memory": 0, "System V memory": 0, "System V semaphores": 0, "large pages lent to pipes": 0,
    "events that nobody reads": 0, "message queues": 0, "pending signals": 256, "timers": 256,
    "both folders": 0,
}  # fmt: skip


def test_program_that_wants_more_is_stopped_or_gets_no_more(sandbox: Sandbox) -> None:
    patient = Sandbox(limit_probes.LIMITS.model_copy(update={"wall_seconds": 100, "cpu_seconds": 20}))
    outcomes = verdicts(patient, {name: limit_probes.PROBES[name][1] for name in (*STOPPED, *HELD)})
    assert {name: outcomes[name].outcome for name in STOPPED} == STOPPED
    for name, most in HELD.items():
        words = outcomes[name].stdout.split()
        assert words[:1] == ["held"], outcomes[name]
        assert sum(map(int, words[1:])) <= most, outcomes[name]


def test_processor_time_is_that_of_all_processes(sandbox: Sandbox) -> None:
    patient = Sandbox(limit_probes.LIMITS.model_copy(update={"wall_seconds": 100, "cpu_seconds": 1}))
    outcomes = verdicts(patient, {name: limit_probes.PROBES[name][1] for name in LOOPS})
    assert {verdict.detail for verdict in outcomes.values()} == {"more than 1 s of processor time"}


def test_stopped_supervisor_still_bounds_memory(sandbox: Sandbox) -> None:
    """It cannot be stopped: a program of eleven processes got a gigabyte past it."""
    program = limit_probes.PROBES["eleven, the supervisor stopped"][1]
    patient = Sandbox(limit_probes.LIMITS.model_copy(update={"wall_seconds": 100}))
    verdict, reached = observe(patient, program)
    assert verdict.outcome == "memory", verdict
    assert reached.processes <= limit_probes.LIMITS.processes
    assert reached.own_mb < 4 * limit_probes.LIMITS.memory_mb


def test_cheating_answers_pass_only_where_the_page_says_so(sandbox: Sandbox) -> None:
    """Answer and tests share one process: what is promised ends there."""
    outcomes = verdicts(sandbox, {name: program for name, (_, program) in CHEATS.items()})
    passing = {name for name, verdict in outcomes.items() if verdict.outcome == "passed"}
    assert passing == {name for name, (caught, _) in CHEATS.items() if not caught}


def test_programs_see_no_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    snoop = """
import glob, os, socket
print(dict(os.environ), socket.gethostname(), os.getuid(), os.listdir('/'))
for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):
    try:
        print(path, open(path, 'rb').read())
    except OSError as error:
        print(path, error)
"""
    verdict = sandbox.run(Program(snoop))
    assert verdict.outcome == "passed", verdict
    assert SECRET not in verdict.stdout
    assert "'sandbox'" not in verdict.stdout
    assert " sandbox 65534 " in verdict.stdout
    assert str(Path.home()) not in verdict.stdout.partition("/proc/")[0]


def test_program_of_a_worker_with_a_key_sees_none_of_it(sandbox: Sandbox, folder: Path, port: int) -> None:
    """A teacher's worker is started with its key, beside a file with a secret, and has both open."""
    (folder / "program.py").write_text(forbidden.SEARCH.format(port=port, folder=folder))
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENAI_API_KEY": SECRET, "HOME": str(folder)},
    ) as worker:  # fmt: skip
        found, _ = worker.communicate()
    assert worker.returncode == 0
    verdict, _, seen = found.partition("\n")
    assert verdict == "passed", found
    assert SECRET not in seen
    assert str(folder) not in seen
    # It did look: its own environment, and what it may read outside of Python and the system.
    assert "'HOME': '/tmp'" in seen
    assert {line for line in seen.splitlines() if line.startswith("file ")} == {"file /etc/ld.so.cache"}


def test_programs_are_strangers_to_each_other(sandbox: Sandbox) -> None:
    left = sandbox.run(Program("open('/tmp/left', 'w').write('x')\nopen('/dev/shm/left', 'w').write('x')"))
    look = "import os\nassert 'left' not in os.listdir('/tmp') + os.listdir('/dev/shm')"
    outcome = sandbox.run(Program(look))
    assert (left.outcome, outcome.outcome) == ("passed", "passed")


def test_streams_are_kept_apart_and_bounded(sandbox: Sandbox) -> None:
    verdict = sandbox.run(Program("import sys\nprint('out')\nprint('err', file=sys.stderr)"))
    assert (verdict.stdout, verdict.stderr) == ("out\n", "err\n")
    assert 0 < verdict.cpu_seconds < verdict.seconds


def test_verdicts_repeat(sandbox: Sandbox) -> None:
    program = Program("print(list({'a', 'b', 'c', 'd', 'e', 'f'}), hash('x'))")
    assert sandbox.run(program).stdout == sandbox.run(program).stdout


def test_absent_module_of_the_tests_makes_them_unavailable(sandbox: Sandbox) -> None:
    missing = "import no_such_module"
    of_tests = [Program("x = 1", missing), Program("x = 1", setup=missing),
                Program("def f(): pass", f"def check(c):\n    {missing}", "f")]  # fmt: skip
    assert [sandbox.run(program).outcome for program in of_tests] == ["unavailable"] * 3
    assert sandbox.run(Program(missing)).outcome == "error"
    package = "import sys\nopen('/tmp/package.py', 'w').write({!r})\nsys.path.append('/tmp')\nimport package"
    wants = f"try:\n    {missing}\nexcept ImportError:\n    raise ImportError('I need it')"
    assert sandbox.run(Program(package.format(wants))).outcome == "unavailable"


def test_installed_packages_are_there(sandbox: Sandbox) -> None:
    verdict = Sandbox(ProgramLimits()).run(Program("import numpy\nassert numpy.arange(3).sum() == 3"))
    assert verdict.outcome == "passed", verdict


def test_the_worker_dies_and_nothing_is_left(sandbox: Sandbox, tmp_path: Path) -> None:
    """kill -9 of the process that asked."""
    code = (
        "from models.adapters.sandbox import Sandbox\n"
        "from models.core.programs import *\nprint('started', flush=True)\n"
        "Sandbox(ProgramLimits(wall_seconds=60)).run(Program('import time\\ntime.sleep(3600)'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    ) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == b"started\n"
        wall = wait_until(lambda: children(asker.pid), "no wall")
        asker.kill()
        asker.wait()
        wait_until(lambda: not any(alive(pid) for pid in wall), "it outlives the process that asked")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_filter_is_made_for_known_machines_only() -> None:
    for machine in ("x86_64", "aarch64"):
        assert len(seccomp_filter(machine) or b"") % 8 == 0
    assert seccomp_filter("aarch64") != seccomp_filter("x86_64")
    assert seccomp_filter("riscv64") is None


def test_sandbox_runs_nothing_without_namespaces(sandbox: Sandbox) -> None:
    """Behind a wall that forbids them: one line, and no program without a wall."""
    code = (
        "from models.core.errors import ServiceError\nfrom models.core.programs import *\n"
        "from models.adapters.sandbox import Sandbox\n"
        "try:\n    print(Sandbox(ProgramLimits()).run(Program('print(\"ran\")')))\n"
        "except ServiceError as error:\n    print(error)"
    )
    done = subprocess.run(
        [bubblewrap(), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
         "--unshare-user", "--disable-userns", sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    [line] = done.stdout.splitlines()
    assert line.startswith("no sandbox for model-written code: bwrap: ")
    assert "judge.execution" in line
