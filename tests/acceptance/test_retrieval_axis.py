"""A run whose grid varies retrieval: who is shown what, and what the tables say of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models.core.retrieval.passage_selection import FILLER
from storage.ledger.queries import ResultRow, iter_rows
from storage.schema import FINAL, GENERATIONS, UNITS
from tests.openai_server.process import OpenAIServer
from tests.support.chores import passages_of, read_jsonl, write_experiment, write_jsonl
from tests.support.pipeline import Ended, home_with_indexes_of, run_locally

# The code of a chore, without the name of its variable, and the function that documents it.
RIGHT = {"max(": "max", "len(": "len", ".sort(": "list.sort", ".join(": "str.join", "set(": "set"}
ALTERNATIVES: dict[str, dict[str, Any]] = {
    "short": {"form": "signature", "top_k": 1},
    "last": {"order": "best_last"},
    "joined": {"labelled": False, "method": "dense"},
    "oracle": {"control": "oracle"},
    "random": {"control": "random"},
    "filler": {"control": "filler"},
}
TEST_ROWS, TRAIN_ROWS = 5, 4


@pytest.fixture(scope="module")
def varied(
    finished: Ended, data: Path, model_server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory
) -> Ended:
    """On some of the rows of the finished run, and its index."""
    model_server.configure()
    for split, count in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        rows: list[dict[str, Any]] = read_jsonl(data / f"{split}.jsonl")[:count]
        for row in rows:
            row["oracle"] = [f"lib.{name}" for part, name in RIGHT.items() if part in row["reference"]]
        write_jsonl(data / f"{split}-varied.jsonl", rows)
    experiment = write_experiment(
        data,
        model_server.url,
        name="varied",
        dataset={"path": ".", "train": "train-varied.jsonl", "test": "test-varied.jsonl"},
        passages=passages_of(data, alternatives=ALTERNATIVES),
        augment={"enabled": False},
        rationale={"passes": 0},
        grid={"shots": [0, 1], "retrieval": [False, True, *ALTERNATIVES], "rationale": ["none"]},
    )
    home = home_with_indexes_of(finished.home, tmp_path_factory.mktemp("varied") / "home")
    return run_locally(home, experiment)


def of_stage(ended: Ended, stage: str) -> list[ResultRow]:
    with ended.home.ledger() as db:
        return list(iter_rows(db, ended.run, stages=(stage,)))


def documentation(ended: Ended) -> dict[str, dict[int, list[list[str]]]]:
    """Return the lines of documentation in each part of the student's prompt, by variant and test row."""
    shown: dict[str, dict[int, list[list[str]]]] = defaultdict(dict)
    asked = select(GENERATIONS.c.key, GENERATIONS.c.request).where(GENERATIONS.c.stage == "answer")
    with ended.home.ledger() as db, db.read() as connection:
        prompts = {key: request["prompt"] for key, request in connection.execute(asked)}
    for row in of_stage(ended, "answer"):
        parts = prompts[row.generation].split("Documentation:\n")[1:]
        shown[row.variant][row.number] = [part.partition("\n\nQuery:")[0].splitlines() for part in parts]
    return shown


def test_every_unit_ends_and_is_counted(varied: Ended) -> None:
    searches = {"raw", "raw/oracle", "raw/random", "raw/filler"}
    counts = Counter((row.split, row.variant) for row in of_stage(varied, "retrieve"))
    assert counts == {(split, variant): count for variant in searches
                     for split, count in (("train", TRAIN_ROWS), ("test", TEST_ROWS))}  # fmt: skip
    with varied.home.ledger() as db, db.read() as connection:
        states = Counter(connection.scalars(select(UNITS.c.state)))
    status = varied.home.json("status", varied.run)
    assert sum(states[state] for state in FINAL) == states.total() == status["planned"]


def test_each_cell_shows_its_own_documentation(varied: Ended) -> None:
    shown = documentation(varied)
    assert "small/0-shot" not in shown or not any(shown["small/0-shot"].values())
    for shots in ("0-shot", "1-shot"):
        for row in range(TEST_ROWS):
            base = shown[f"small/{shots}/retrieval"][row]
            assert len(base) == 1 + (shots == "1-shot")
            assert [len(part) for part in base] == [2] * len(base)
            texts = [[line.partition("): ")[2] for line in part] for part in base]
            assert shown[f"small/{shots}/last"][row] == [part[::-1] for part in base]
            assert shown[f"small/{shots}/joined"][row] == [[" ".join(part)] for part in texts]
            assert shown[f"small/{shots}/short"][row] == [[part[0].partition(": ")[0]] for part in base]
            silence = shown[f"small/{shots}/filler"][row]
            assert [[len(line) for line in part] for part in silence] == [
                [len(line) for line in part] for part in base
            ]
            assert all(line[:-1] in FILLER * 9 for part in silence for line in part)
            noise = shown[f"small/{shots}/random"][row]
            for part, other in zip(base, noise, strict=True):
                assert len(other) == 2
                assert set(part).isdisjoint(other)


def test_the_right_passages_are_shown_where_they_are_known(varied: Ended) -> None:
    """Also in exemplars: each kind of chore is met in both splits, but for the one of no function."""
    for row in of_stage(varied, "retrieve"):
        if row.variant == "raw/oracle":
            assert [hit["id"] for hit in row.result["passages"]] == row.oracle
        if row.variant == "raw/random":
            assert {hit["id"] for hit in row.result["passages"]}.isdisjoint(row.oracle)
    shown = documentation(varied)["small/0-shot/oracle"]
    assert [len(shown[row]) for row in range(TEST_ROWS)] == [1, 1, 1, 0, 1]
    assert shown[0] == [["max(iterable, *, key=None): Return the largest item of an iterable."]]


def test_tables_name_the_alternatives(varied: Ended) -> None:
    for words in ("1-shot, oracle", "0-shot, short", "0-shot, retrieval", "Right of those shown".lower()):
        assert words in varied.completed.stdout
    report = json.loads(varied.home.starmill("report", varied.run, "--format", "json").stdout)
    assert {cell["retrieval"] for cell in report["ablation"]} == {"no", "yes", *ALTERNATIVES}
    assert all(cell["n"] == TEST_ROWS for cell in report["ablation"])
    quality = {row["retrieval"]: row for row in report["retrieval"]}
    assert list(quality) == ["yes", *ALTERNATIVES]
    assert quality["oracle"]["precision"] == 100
    assert quality["oracle"]["missed"] == 0
    assert quality["random"]["right"] == quality["filler"]["right"] == 0
    assert quality["filler"]["tokens"] == quality["yes"]["tokens"] == quality["last"]["tokens"]
    assert quality["short"]["tokens"] < quality["joined"]["tokens"] < quality["yes"]["tokens"]
    assert report["statistics"]["examples"] == TRAIN_ROWS


def test_exports_name_the_alternatives(varied: Ended, tmp_path: Path) -> None:
    answers = varied.home.export(varied.run, "answers")
    assert {row["retrieval"] for row in answers} == {"no", "yes", *ALTERNATIVES}
    shown = {row["retrieval"]: row["passages"] for row in answers if row["row"] == 0}
    assert shown == dict.fromkeys(ALTERNATIVES, 2) | {"no": 0, "yes": 2, "short": 1, "oracle": 1}
    synthetic = varied.home.export(varied.run, "synthetic")
    assert {len(row["passages"]) for row in synthetic} == {2}


def test_the_run_is_found_again(varied: Ended) -> None:
    completed = varied.home.starmill("run", varied.experiment, "--local")
    assert f"run {varied.run} is finished" in completed.stderr
