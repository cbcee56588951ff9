"""Whatever is wrong, one line says what, where, and how to mend it; and nothing is half done."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from storage.ledger import runs
from tests.openai_server.process import OpenAIServer
from tests.support.chores import chores, passages_of, write_experiment, write_jsonl
from tests.support.pipeline import PATIENCE, Ended, Home, final_share, home_with_indexes_of, units, wait_until

pytestmark = pytest.mark.timeout(300)
NOWHERE = "127.0.0.1:9"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, data: Path, model_server: OpenAIServer) -> Path:
    """An experiment of few units, beside files that cannot be used."""
    folder = tmp_path_factory.mktemp("small")
    for split in ("train", "test"):
        write_jsonl(folder / f"{split}.jsonl", chores(2, split))
    (folder / "broken.jsonl").write_text('{"request": "a", "reference": "b"}\n{"request": \n')
    (folder / "nameless.jsonl").write_text('{"question": "a", "reference": "b"}\n')
    (folder / "empty.jsonl").touch()
    (folder / "broken.yaml").write_text("name: small\nteacher: [\n")
    (folder / "list.yaml").write_text("- name\n")
    passages = passages_of(data, path=str(data / "passages.jsonl"))
    return write_experiment(folder, model_server.url, "OPENAI_API_KEY", passages=passages)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def ready(finished: Ended, tmp_path: Path) -> Home:
    """A home without runs, its passages indexed."""
    return home_with_indexes_of(finished.home, tmp_path / "home", STARMILL_LEASE_SECONDS="4")


SET: dict[str, tuple[list[str], str]] = {
    "unknown key": (["passages.topk=3"], "passages.topk: unknown key; did you mean top_k?"),
    "number out of range": (["passages.top_k=0"], "passages.top_k: takes a whole number from 1 to 100"),
    "impossible grid": (["grid.shots=[0]", "grid.rationale=[star]"], "shots 0 allows only rationale none"),
    "unknown alternative": (["grid.retrieval=[bm52]"], "grid: retrieval names bm52, which"),
    "no right passages": (["passages.control=oracle"], "passages.control: oracle shows the right"),
    "nonsense": (["nonsense"], "--set: nonsense: give it as key.key=value"),
    "missing file": (["dataset.train=missing.jsonl"], "missing.jsonl: no such file"),
    "malformed line": (["dataset.train=broken.jsonl"], "broken.jsonl:2: is not JSON"),
    "missing field": (["dataset.test=nameless.jsonl"], "nameless.jsonl:1: has no 'request'; map the names"),
    "empty dataset": (["dataset.test=empty.jsonl"], "empty.jsonl: holds no examples"),
    "missing passages": (["passages.path=missing.jsonl"], "missing.jsonl: no such file; check passages.path"),
    "unknown encoder": (["passages.encoder=no-such-encoder"], "no-such-encoder"),
}  # fmt: skip


@pytest.mark.parametrize("case", SET)
def test_invalid_setting_is_refused(case: str, home: Home, small: Path) -> None:
    values, says = SET[case]
    overrides = [word for value in values for word in ("--set", value)]
    assert_refused(home, says, "run", small, "--local", *overrides)
    assert_no_runs(home)


COMMANDS: dict[str, tuple[list[str], str]] = {
    "unknown preset": (
        ["run", "dmeo", "--local"],
        "no such experiment file or preset; did you mean demo?",
    ),
    "missing file": (["run", "no/such.yaml"], "no/such.yaml: no such experiment file or preset; presets are"),
    "broken YAML": (["run", "broken.yaml"], "broken.yaml:3: not valid YAML"),
    "no experiment": (["run"], "which experiment?"),
    "resume of nothing": (["run", "--resume", "x", "--local"], "no run 'x' in sqlite"),
    "status of nothing": (["status"], "no runs yet"),
    "report of no run": (["report", "x"], "no run 'x' in sqlite"),
    "unknown format": (["report", "x", "--format", "pdf"], "'pdf' is not one of 'markdown'"),
    "export to nowhere": (["export", "x"], "give -o PATH, or --push NAME"),
    "retry of no run": (["retry", "x"], "no run 'x' in sqlite"),
    "search without index": (["index", "search", "small.yaml", "words"], "starmill index build"),
    "gateway elsewhere": (["run", "small.yaml", "--gateway"], "--gateway goes with --local"),
    "unknown option": (["run", "--lokal"], "No such option: --lokal"),
    "half a command": (["index"], "Missing command; see `starmill index --help`"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_invalid_command_is_refused(case: str, small: Path, tmp_path: Path) -> None:
    arguments, says = COMMANDS[case]
    folder = shutil.copytree(small.parent, tmp_path / "folder")
    assert_refused(Home(folder / "home"), says, *arguments)


SETTINGS: dict[str, tuple[str, str, str]] = {
    "Redis away": ("REDIS_URL", f"redis://:secret@{NOWHERE}/0", f"cannot reach Redis at {NOWHERE}"),
    "Redis nonsense": ("REDIS_URL", "nonsense", "STARMILL_REDIS_URL"),
    "database away": ("DATABASE_URL", f"postgresql://me:secret@{NOWHERE}/x", "cannot open the database"),
    "database nonsense": ("DATABASE_URL", "nonsense", "give sqlite:///FILE or postgresql://"),
    "database is no database": ("DATABASE_URL", "sqlite:////dev/null/ledger.db", "cannot open the database"),
    "gateway without a token": ("GATEWAY_URL", "http://user:secret@:1", "STARMILL_GATEWAY_URL is not a URL"),
    "not a number": ("LEASE_SECONDS", "soon", "STARMILL_LEASE_SECONDS=soon"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_invalid_environment_is_refused(case: str, tmp_path: Path, small: Path) -> None:
    name, value, says = SETTINGS[case]
    stderr = assert_refused(Home(tmp_path / "home", {f"STARMILL_{name}": value}), says, "run", small)
    assert "secret" not in stderr
    assert Home(tmp_path / "home").json("runs") == {"runs": []}


def test_retry_of_an_unused_reason_is_refused(finished: Ended) -> None:
    says = "no unit failed for 'bad_luck'; reasons are: context_overflow"
    assert_refused(finished.home, says, "retry", finished.run, "--reason", "bad_luck")
    assert_refused(finished.home, says, "failures", finished.run, "--reason", "bad_luck")


def test_unwritable_file_is_named(finished: Ended) -> None:
    for command in ("export", "report"):
        says = "-o no/such/file: there is no folder no/such; make it first"
        assert_refused(finished.home, says, command, finished.run, "-o", "no/such/file")


def test_wrong_key_and_model_pause_the_run_until_mended(
    ready: Home, small: Path, server: OpenAIServer
) -> None:
    server.configure(key="right-key", model="another")
    run = assert_paused(with_key(ready, "wrong-key"), "set OPENAI_API_KEY to a valid key", small)
    assert run == assert_paused(with_key(ready, "right-key"), "check the model", small)
    assert not [key for key in ("wrong-key", "right-key") if holds(ready.path, key)]
    assert server.stats()["answers"] == 0

    server.configure()
    ready.starmill("run", "--resume", run, "--local")
    assert ready.json("status")["units"]["failed"] == 0


def test_a_home_has_one_local_run_and_a_run_one_feeder(
    ready: Home, small: Path, server: OpenAIServer
) -> None:
    server.configure(latency_ms=8000)
    with ready.started("run", small, "--local") as process, ready.ledger() as db:
        wait_until(lambda: final_share(units(db)) > 0, "the first unit is final")
        [run] = runs.list_runs(db)
        assert_refused_at_last(ready, f"process {process.pid} runs --local in", "run", small, "--local")
        ledger = f"sqlite:///{ready.path / 'ledger.db'}"
        elsewhere = home_with_indexes_of(
            ready, ready.path.with_name("elsewhere"), STARMILL_DATABASE_URL=ledger
        )
        says = f"run {run.id} is being fed by"
        assert_refused_at_last(elsewhere, says, "run", "--resume", run.id, "--local")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 3
        assert [each.id for each in runs.list_runs(db)] == [run.id]


def assert_refused(home: Home, says: str, *arguments: object) -> str:
    """Exit code 2, nothing on standard output, and one line on standard error; the line."""
    before, line = assert_refused_at_last(home, says, *arguments)
    assert before == []
    return line


def assert_refused_at_last(home: Home, says: str, *arguments: object) -> tuple[list[str], str]:
    """The same, after lines on what the run will take; they and the last line."""
    done = home.starmill(*arguments, expect=2)
    assert done.stdout == ""
    *before, line = done.stderr.splitlines()
    assert line.startswith("starmill: ")
    assert says in line
    return before, line


def assert_no_runs(home: Home) -> None:
    with home.ledger() as db:
        assert runs.list_runs(db) == []


def with_key(home: Home, key: str) -> Home:
    return Home(home.path, {**home.settings, "OPENAI_API_KEY": key})


def assert_paused(home: Home, says: str, experiment: Path) -> str:
    """One line, after those on the progress; no unit is blamed, no process is left; the run."""
    lines = home.starmill("run", experiment, "--local", expect=2).stderr.splitlines()
    [line] = [line for line in lines if line.startswith("starmill: ")]
    assert line == lines[-1]
    assert says in line
    assert "Traceback" not in " ".join(lines)
    status = home.json("status")
    assert (status["state"], status["units"]["failed"]) == ("paused", 0)
    run: str = status["run"]
    assert f"continue with: starmill run --resume {run} --local" in line
    assert not home.processes()
    return run


def holds(folder: Path, text: str) -> bool:
    """Tell if a file of the folder holds the text."""
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())
