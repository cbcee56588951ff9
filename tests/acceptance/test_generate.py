"""One prompt over the rows of a file: by one line, by an experiment of ten, and by one call from Python."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl
from tests.support.pipeline import STARMILL, Home, bought, final_share, paid, units, wait_until

ROWS = 200
PROMPT = "Explain in one sentence: {{ question }}"
LONGEST_PROMPT = 300  # words
# What only documentation, encoders and models in a worker need; all of them have shared objects.
HEAVY = re.compile(
    r"libtorch|/torch/|/tokenizers/|onnxruntime|/grpc/|milvus|xllamacpp|/numpy/|/pyarrow/|/pandas/"
)
Ask = Callable[["Door"], list[dict[str, Any]]]


class Door:
    """A home, a file of rows, and a model server."""

    def __init__(self, folder: Path, server: OpenAIServer) -> None:
        # What a killed worker had in hand waits no longer than that.
        self.home = Home(folder / "home", {"STARMILL_LEASE_SECONDS": "3"})
        self.rows = folder / "rows.csv"
        self.out = folder / "out.jsonl"
        self.url = server.url
        with self.rows.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["qid", "question", "level", "a column"])
            writer.writerows((f"q{n}", f'What is {n} + {n},\n"exactly"?', n % 5, "") for n in range(ROWS))

    def experiment(self, **model: Any) -> Path:
        """Write the experiment of ten lines."""
        endpoint = {"backend": "openai", "model": "gpt-5-mini", "base_url": self.url, **model}
        steps = {"explain": {"prompt": PROMPT}}
        config = {"name": "explain", "data": "rows.csv", "models": {"teacher": endpoint}, "steps": steps}
        path = self.rows.with_name("explain.yaml")
        path.write_text(yaml.safe_dump(config))
        return path

    def line(self, *more: object) -> tuple[object, ...]:
        return ("generate", self.rows, "--prompt", PROMPT, "--model", "gpt-5-mini", "--base-url", self.url,
                "-o", self.out, *more)  # fmt: skip


@pytest.fixture
def door(tmp_path: Path, openai_server: OpenAIServer) -> Iterator[Door]:
    yield Door(tmp_path, openai_server)
    openai_server.configure()


def by_one_line(door: Door) -> list[dict[str, Any]]:
    door.home.starmill(*door.line("--column", "explain"))
    return read_jsonl(door.out)


def by_an_experiment(door: Door) -> list[dict[str, Any]]:
    door.home.starmill("run", door.experiment(), "--local")
    return door.home.export(door.home.json("status")["run"], "rows")


def by_one_call(door: Door) -> list[dict[str, Any]]:
    code = f"""
import json, starmill
rows = starmill.generate("rows.csv", {PROMPT!r}, model="gpt-5-mini", base_url={door.url!r}, column="explain")
assert (len(rows), rows.failed) == ({ROWS}, 0)
assert list(rows.to_pandas().columns) == list(rows.to_dataset().column_names) == list(next(iter(rows)))
print(json.dumps(list(rows)))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=door.rows.parent, env=door.home.environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@pytest.mark.parametrize("ask", [by_one_line, by_an_experiment, by_one_call])
def test_every_row_is_asked_once_and_keeps_its_columns(
    ask: Ask, door: Door, openai_server: OpenAIServer
) -> None:
    rows = ask(door)
    assert openai_server.stats()["calls"] == ROWS
    with door.rows.open(newline="") as file:
        given = list(csv.DictReader(file))
    assert [{name: row[name] for name in given[0]} for row in rows] == given
    assert [list(row) for row in rows] == [[*given[0], "explain"]] * ROWS
    assert all(row["explain"] for row in rows)
    assert ask(door) == rows
    assert openai_server.stats()["calls"] == ROWS


def slow_line(door: Door) -> list[object]:
    return [STARMILL, *door.line("--max-concurrency", 2)]


def slow_experiment(door: Door) -> list[object]:
    return [STARMILL, "run", door.experiment(max_concurrency=2), "--local", "--no-flower"]


def slow_call(door: Door) -> list[object]:
    options = {"model": "m", "base_url": door.url, "max_concurrency": 2}
    return [
        sys.executable,
        "-P",
        "-c",
        f"import starmill; starmill.generate('rows.csv', {PROMPT!r}, **{options})",
    ]


@pytest.mark.parametrize("command", [slow_line, slow_experiment, slow_call])
def test_no_process_loads_what_it_does_not_need(
    command: Callable[[Door], list[object]], door: Door, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=100.0)
    with door.home.running(command(door)):
        wait_until(lambda: openai_server.stats()["answers"] > 4, "some answers")
        maps = {}
        for pid in door.home.processes():
            with suppress(OSError):
                maps[pid] = Path(f"/proc/{pid}/maps").read_text()
        loaded = [HEAVY.findall(each) for each in maps.values()]
    assert len(maps) >= 3  # the command, Redis and a worker
    assert sum("/aiohttp/" in each for each in maps.values()) == 1
    assert loaded == [[]] * len(maps)


def test_killed_at_half_asks_nothing_again_that_was_committed(
    door: Door, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=50.0)
    line = door.line("--max-concurrency", 4)
    with door.home.started(*line), door.home.ledger() as db:
        wait_until(lambda: final_share(units(db)) >= 0.5, "half of the rows")
        for pid in door.home.processes():
            os.kill(pid, signal.SIGKILL)
        committed = bought(db)
    assert ROWS / 2 <= len(committed) < ROWS
    door.home.starmill(*line)
    assert len(read_jsonl(door.out)) == ROWS
    times = paid(openai_server)
    assert {call for call in committed if times[call] > 1} == set()
    assert len(times) == ROWS


def test_row_that_fails_is_written_without_an_answer(door: Door, openai_server: OpenAIServer) -> None:
    openai_server.configure(max_context=LONGEST_PROMPT)
    door.rows.write_text(f"question,level\nshort,1\n{'and then ' * LONGEST_PROMPT},2\n")
    for ending in ("jsonl", "csv", "parquet"):
        door.out = door.out.with_suffix(f".{ending}")
        done = door.home.starmill(*door.line(), expect=1)
        assert re.search(
            r"without an answer: 1, \w+, such as: .+\n1 units failed: `starmill failures ", done.stderr
        )
        assert written(door.out)[0]["answer"]
        assert [row["level"] for row in written(door.out)] == ["1", "2"]
        assert written(door.out)[1]["answer"] in (None, "")
    assert openai_server.stats()["answers"] == 1


def written(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pylist())


BAD: list[tuple[list[str], str]] = [
    (["--prompt", "{{ questio }}"], r"--prompt: there is no column questio; .*question.*"),
    (["--prompt", "{{ question "], r"--prompt: is no template: .*"),
    (["--prompt", " "], r"--prompt: is empty; .*"),
    (["--prompt", "ask.j2"], r"--prompt: there is no file ask\.j2 .*"),
    (["--system", "{{ other }}"], r"--system: there is no column other; .*"),
    (["--column", "level"], r"--column: the rows have a column level; name another"),
    (["--column", "question"], r"--column: the prompt reads a column question; name another for the answers"),
    (["--column", "my answer"], r"--column: takes a word of letters, digits and _"),
    (["--backend", "opnai"], r"--backend: .*did you mean openai\?"),
    (["--model", " "], r"--model: is empty; name the model to ask"),
    (["--base-url", "127.0.0.1:8000/v1"], r"--base-url: must begin with http:// or https://, .*"),
    (["--param", "temperature"], r"--param temperature: give it as KEY=VALUE"),
    (["--param", "model=x"], r"--param: model cannot be set as a parameter"),
    (["--budget-usd", "1"], r"--budget-usd: counts nothing without the price of the model; .*"),
    (["--price", "cheap"], r"--price cheap: give dollars .*"),
    (["-o", "out.txt"], r"-o out\.txt: its ending is none of \.jsonl, \.csv, \.parquet; .*"),
    (["-o", "rows.csv"], r"-o rows\.csv: is the file of the rows; .*"),
    (["-o", "nowhere/out.csv"], r"-o nowhere/out\.csv: there is no folder nowhere; .*"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_line_is_told_in_one_line(options: list[str], message: str, door: Door) -> None:
    done = door.home.starmill(*door.line(), *options, expect=2)
    assert re.fullmatch(f"starmill: {message}\n", done.stderr)


def test_missing_file_is_told_in_one_line(door: Door) -> None:
    door.rows.unlink()
    done = door.home.starmill(*door.line(), expect=2)
    assert done.stderr == f"starmill: {door.rows}: no such file\n"


def test_server_without_its_address_is_told_which_option_is_missing(door: Door) -> None:
    line = ("generate", door.rows, "--prompt", PROMPT, "--model", "m", "--backend", "server", "-o", door.out)
    done = door.home.starmill(*line, expect=2)
    assert re.fullmatch(r"starmill: --base-url: must begin with http:// or https://, .*\n", done.stderr)


def test_column_that_has_the_default_name_asks_for_another(door: Door) -> None:
    door.rows.write_text("question,answer\nwhat?,that\n")
    done = door.home.starmill(*door.line(), expect=2)
    assert done.stderr == "starmill: --column: the rows have a column answer; name another\n"
