"""A key that a run uses, or tries to use, stands nowhere afterwards, however badly the run goes."""

from __future__ import annotations

import contextlib
import io
import subprocess
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from models.core.errors import ModelError
from models.core.types import Message, Request
from tests.acceptance.conftest import LONGEST_PROMPT
from tests.openai_server.calls import ask
from tests.openai_server.process import OpenAIServer
from tests.support.chores import write_experiment
from tests.support.command_line import starmill
from tests.support.leaks import leaking_files, redis_values, tells
from tests.support.pipeline import PATIENCE, Ended, Home, home_with_indexes_of

VARIABLE = "MARKED_KEY"
RIGHT, WRONG = "sk-marked-Right/0f3c9d5e+7a1b2468ACEG", "sk-marked-Wrong/1e2d3c4b+5a697887HJKL"
KEYS = (RIGHT, WRONG)

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Traces:
    """The traces of two runs: a folder with the home and all exports, values of Redis, and printed text."""

    folder: Path
    run: str
    redis: set[bytes]
    printed: dict[str, str]


@pytest.fixture(scope="module")
def traces(
    finished: Ended, data: Path, model_server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traces]:
    """One run with the right key and much that goes wrong, one with a key that is refused."""
    folder = tmp_path_factory.mktemp("marked")
    # Whoever writes logs is asked to write all that they can.
    loud = {"STARMILL_LOG_LEVEL": "DEBUG", "OPENAI_LOG": "debug", "STARMILL_QUEUE_WINDOW": "64"}
    home = home_with_indexes_of(finished.home, folder / "home", **loud, **{VARIABLE: RIGHT})
    refused = Home(home.path, {**home.settings, VARIABLE: WRONG})
    endpoint = {"base_url": model_server.url, "max_concurrency": 4, "api_key_env": VARIABLE}
    experiment = write_experiment(
        data,
        model_server.url,
        name="marked",
        teacher={"backend": "openai", "model": "large", **endpoint},
        students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
    )
    model_server.configure(
        key=RIGHT, latency_ms=30, malformed=0.2, p429=0.1, retry_after="0.1", p500=0.1, pdrop=0.1,
        max_context=LONGEST_PROMPT,
    )  # fmt: skip
    model_server.forget()
    held: set[bytes] = set()
    printed = {}
    with home.started("run", experiment, "--local") as process:
        printed["run"] = watched(home, process, held, expect=1)
    run = home.json("status")["run"]
    with refused.started("run", experiment, "--local", "--set", "seed=1") as process:
        printed["refused"] = watched(home, process, held, expect=2)
    statuses = model_server.stats()["statuses"]
    assert {"200", "400", "401", "429", "499", "500"} <= set(statuses), statuses
    with pytest.MonkeyPatch.context() as patch:
        for name, value in home.environment.items():
            patch.setenv(name, value)
        for arguments in commands(run, folder):
            printed[" ".join(arguments)] = shown(arguments)
    yield Traces(folder, run, held, printed)
    model_server.configure()


def watched(home: Home, process: subprocess.Popen[str], held: set[bytes], expect: int) -> str:
    """Return what the run printed. Meanwhile add the values of Redis to `held`."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        assert time.monotonic() < deadline
        try:
            with redis.Redis.from_url(home.redis_url()) as client:
                held |= redis_values(client)
        except (OSError, ValueError, KeyError, redis.RedisError):
            pass  # not started yet, or stopped already
        time.sleep(0.02)
    out, error = process.communicate()
    assert process.returncode == expect, error
    assert not home.processes()
    return out + error


def commands(run: str, folder: Path) -> Iterator[list[str]]:
    """Everything that shows a run, in every form."""
    for command in (["status"], ["status", run], ["failures", run], ["runs"], ["doctor"]):
        yield [*command]
        yield [*command, "--json"]
    for form in ("markdown", "latex", "csv", "json", "html"):
        yield ["report", run, "--format", form, "-o", f"{folder}/report.{form}"]
    for what in ("synthetic", "answers", "failures"):
        for form in ("jsonl", "parquet", "hf"):
            yield ["export", run, "--what", what, "--format", form, "-o", f"{folder}/{what}.{form}"]
    yield ["export", run, "--style", "chat", "-o", f"{folder}/chat.jsonl"]


def shown(arguments: list[str]) -> str:
    """Return what a successful command prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert starmill(*arguments) == 0
    return printed.getvalue()


def test_the_refused_key_pauses_the_run(traces: Traces) -> None:
    [line] = [line for line in traces.printed["refused"].splitlines() if line.startswith("starmill: ")]
    assert f"the key in {VARIABLE} is refused; set {VARIABLE} to a valid key" in line
    assert "Traceback" not in traces.printed["refused"]


def test_no_file_holds_a_key(traces: Traces) -> None:
    assert leaking_files(traces.folder, KEYS) == []


def test_redis_holds_no_key_during_a_run(traces: Traces) -> None:
    assert not [value for value in traces.redis if tells(value, KEYS)]


def test_no_command_prints_a_key(traces: Traces) -> None:
    assert [name for name, text in traces.printed.items() if tells(text, KEYS)] == []


def test_key_leak_search_saw_every_part(traces: Traces) -> None:
    """The same search finds the name of the run, and of the key's variable, where they belong."""
    named = leaking_files(traces.folder, [traces.run])
    for file in (
        "home/ledger.db",
        "answers.parquet",
        "failures.jsonl",
        "report.html",
        "synthetic.hf/README.md",
    ):
        assert file in named
    assert any(name.startswith("home/local/redis/appendonlydir/") for name in named)
    assert any(tells(value, [traces.run]) for value in traces.redis)
    assert {"ledger.db", "logs/worker.log"} <= set(leaking_files(traces.folder / "home", [VARIABLE]))
    log = (traces.folder / "home" / "logs" / "worker.log").read_text()
    assert "status 429" in log
    assert "status 500" in log
    assert "[key]" in log  # the server quoted it


@pytest.mark.parametrize(
    "behaviour",
    [{"key": WRONG}, {"key": RIGHT, "p429": 1.0}, {"key": RIGHT, "p500": 1.0}, {"key": RIGHT, "pdrop": 1.0},
     {"key": RIGHT, "max_context": 1}],
    ids=["401", "429", "500", "drop", "400"],
)  # fmt: skip
def test_no_traceback_shows_the_key(
    behaviour: dict[str, object], server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, RIGHT)
    server.configure(**behaviour)
    request = Request("openai", "large", (Message("user", "sort a list"),))
    with pytest.raises(ModelError) as raised:
        ask(server.url, request, api_key_env=VARIABLE)
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert not tells(shown, KEYS)
