"""Requests are grown through real queues from a model server that repeats itself and breaks pairs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from storage.schema import TRAIN
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import read_jsonl, write_experiment, write_jsonl
from tests.support.pipeline import Home, bought, final_share, paid, units, wait_until

SEEDS, ROUNDS, REQUESTS = 12, 2, 4
UNITS = SEEDS * ROUNDS
WORDS = (
    "door",
    "lamp",
    "river",
    "stone",
    "cloud",
    "horse",
    "table",
    "apple",
    "train",
    "glass",
    "bread",
    "wheel",
)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, server: OpenAIServer) -> Path:
    """Rows with fields of their own, none of which is like another."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {"key": f"seed-{n}", "ask": " ".join(f"{word}{n}" for word in WORDS[:6]), "say": f"f({n})"}
        for n in range(SEEDS)
    ]
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "test.jsonl", [{"key": "t", "ask": " ".join(WORDS), "say": "g()"}])
    return write_experiment(
        folder,
        server.url,
        dataset={
            "path": ".", "train": "train.jsonl", "test": "test.jsonl",
            "fields": {"id": "key", "request": "ask", "reference": "say"},
        },
        grow={"rounds": ROUNDS, "requests": REQUESTS},
    )  # fmt: skip


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, experiment: Path, server: OpenAIServer) -> Home:
    """Killed with all of its processes when a third was done, and started again."""
    home = Home(tmp_path_factory.mktemp("grown") / "home")
    server.configure(latency_ms=300)
    with home.started("data", "grow", experiment, "--local"), home.ledger() as db:
        wait_until(lambda: final_share(units(db)) >= 0.3, "a third is final")
        before = bought(db)
    server.configure()
    home.starmill("data", "grow", experiment, "--local", "-o", home.path / "a.jsonl")
    with home.ledger() as db:
        assert before
        assert len(bought(db)) == UNITS
    again = paid(server)
    assert {call for call in before if again[call] > 1} == set()
    return home


def grow(home: Home, experiment: Path, *more: object) -> dict[str, Any]:
    summary: dict[str, Any] = home.json("data", "grow", experiment, *more)
    return summary


def test_each_pair_is_kept_or_dropped_for_a_reason(grown: Home, experiment: Path) -> None:
    """The server's four pairs: a new one, one similar to a shown row, one equal to it, and a broken one."""
    path = grown.path / "dropped.jsonl"
    growth = grow(grown, experiment, "--local", "--dropped", path)
    dropped = {reason: number for reason, number in growth["dropped"].items() if number}
    assert (growth["units"], growth["failed"], growth["pairs"]) == (UNITS, 0, UNITS * REQUESTS)
    assert (growth["kept"], dropped) == (UNITS, {"similar": UNITS, "parrot": UNITS, "no_answer": UNITS})
    assert growth["rounds"] == [
        {"round": number, "pairs": SEEDS * REQUESTS, "kept": SEEDS} for number in (1, 2)
    ]
    rows = read_jsonl(path)
    assert Counter(row["dropped"]["reason"] for row in rows) == dropped
    for row in rows:
        if row["dropped"]["reason"] != "no_answer":
            assert row["dropped"]["other"] in row["grown"]["shown"]


def test_second_growth_writes_the_same_and_makes_no_call(
    grown: Home, experiment: Path, server: OpenAIServer
) -> None:
    before = paid(server)
    path = grown.path / "b.jsonl"
    assert grow(grown, experiment, "--local", "-o", path)["output"] == str(path)
    assert path.read_bytes() == (grown.path / "a.jsonl").read_bytes()
    assert paid(server) == before


@pytest.mark.parametrize("by_stage", [False, True])
def test_replayed_growth_costs_nothing_and_writes_the_same(
    grown: Home, experiment: Path, server: OpenAIServer, tmp_path: Path, by_stage: bool
) -> None:
    """From the run's own recording; or from one that only knows whose answers they are."""
    recording, again = tmp_path / "recording.jsonl", tmp_path / "again.jsonl"
    run, rows = grown.json("status")["run"], read_jsonl(grown.path / "a.jsonl")
    grown.starmill("export", run, "--what", "generations", "-o", recording)
    if by_stage:
        texts = {line["key"]: line["text"] for line in read_jsonl(recording)}
        made = [row["grown"] for row in rows]
        write_jsonl(recording, [{"stage": "grow", "question_id": f"seed-{each['row']}",
                                 "round": each["round"], "text": texts[each["generation"]]}
                                for each in made])  # fmt: skip
    before = server.stats()["calls"]
    home, settings = Home(tmp_path / "home"), ("backend=replay", f"recording={recording}")
    options = [word for each in settings for word in ("--set", f"teacher.{each}")]
    growth = grow(home, experiment, "--local", *options, "-o", again)
    assert (growth["failed"], growth["kept"], server.stats()["calls"]) == (0, UNITS, before)
    replayed = read_jsonl(again)
    for row in (*rows, *replayed):
        row["grown"].pop("run")
        if by_stage:
            row["grown"].pop("generation")
    assert replayed == rows


def test_rows_are_a_train_split(grown: Home, experiment: Path) -> None:
    rows = read_jsonl(grown.path / "a.jsonl")
    changed = load_experiment(str(experiment), [f"dataset.train={grown.path / 'a.jsonl'}"])
    examples = list(read_dataset(changed)[TRAIN])
    assert [(each.question_id, each.request, each.reference) for each in examples] == [
        (row["key"], row["ask"], row["say"]) for row in rows
    ]
    assert len({row["ask"] for row in rows}) == len(rows) == UNITS


def test_later_rounds_are_shown_grown_examples(grown: Home) -> None:
    kept: dict[int, set[str]] = {1: set(), 2: set()}
    shown: dict[int, list[list[str]]] = {1: [], 2: []}
    for row in read_jsonl(grown.path / "a.jsonl"):
        kept[row["grown"]["round"]].add(row["key"])
        shown[row["grown"]["round"]].append(row["grown"]["shown"])
        assert f"train/{row['grown']['row']}" in row["grown"]["shown"]
        assert row["grown"]["model"] == "large"
    for number, grown_ones in ((1, 0), (2, 2)):
        for names in shown[number]:
            assert len(names) == len(set(names)) == 8
            grown_names = [name for name in names if name.startswith("grown-")]
            assert len(grown_names) == grown_ones
            assert set(grown_names) <= kept[1]


def test_growth_run_is_listed_and_resumed_as_other_runs(grown: Home, experiment: Path) -> None:
    status = grown.json("status")
    assert (status["state"], list(status["stages"])) == ("finished", ["grow"])
    assert status["stages"]["grow"]["done"] == UNITS
    assert "grow" in grown.starmill("show", status["run"], "seed-0").stdout
    assert "grew requests" in grown.starmill("report", status["run"]).stdout
    stderr = grown.starmill("run", "--resume", status["run"], "--local").stderr
    assert "`starmill data grow`" in stderr
    [only] = grown.json("runs")["runs"]
    assert only["run"] == status["run"]


def test_impossible_growth_is_refused_in_one_line(grown: Home, experiment: Path, tmp_path: Path) -> None:
    def refusal_of(*arguments: object) -> str:
        stderr = grown.starmill(*arguments, expect=2).stderr
        assert stderr.count("\n") == 1
        return stderr

    assert "is set by `starmill data grow`" in refusal_of("run", experiment, "--set", "grow.enabled=true")
    assert "there is no folder" in refusal_of("data", "grow", experiment, "-o", tmp_path / "no" / "a.jsonl")
    assert "grow.threshold: " in refusal_of("data", "grow", experiment, "--set", "grow.threshold=2")


def test_replies_without_pairs_fail_after_a_few_tries(
    experiment: Path, server: OpenAIServer, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    settings = ["--set", "teacher.params={max_tokens: 2}", "--set", "dataset.train.limit=2"]
    completed = home.starmill("data", "grow", experiment, *settings, "--local", "--json", expect=1)
    summary = json.loads(completed.stdout)
    assert (summary["units"], summary["failed"], summary["pairs"]) == (4, 4, 0)
    [failures] = [home.json("failures", summary["run"])["failures"]]
    assert {each["reason"] for each in failures} == {"truncated"}
    assert {len(each["rejected"]) for each in failures} == {3}
