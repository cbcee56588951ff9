"""A run of two rounds: the second is shown what the first got right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from models.core.types import Request
from storage.ledger.queries import iter_rows
from storage.schema import DONE, GENERATIONS, TRAIN
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import Ended, Home, paid, run_locally

EXAMPLES = 10
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIServer]:
    data = write_data(tmp_path_factory.mktemp("rounds") / "data", train=EXAMPLES, test=2)
    with running("--references", str(data / "references.jsonl")) as started:
        yield started


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, server: OpenAIServer) -> Ended:
    folder = tmp_path_factory.mktemp("run")
    data = write_data(folder / "data", train=EXAMPLES, test=2)
    experiment = write_experiment(
        data,
        server.url,
        rationale={"hint": "paper", "rounds": 2, "passes": 0},
        grid={"shots": [2], "retrieval": [False], "rationale": ["star"]},
    )
    return run_locally(Home(folder / "home"), experiment)


def asked(ended: Ended, variant: str) -> dict[int, Request]:
    """Return what the teacher was asked in a round, by train row."""
    with ended.home.ledger() as db:
        units = {
            unit.generation: unit.number
            for unit in iter_rows(db, ended.run, stages=["rationale"], states=(DONE,), split=TRAIN)
            if unit.variant == variant
        }
        query = select(GENERATIONS.c.key, GENERATIONS.c.request).where(GENERATIONS.c.key.in_(units))
        with db.read() as connection:
            return {units[key]: Request.from_body(body) for key, body in connection.execute(query)}


def results(ended: Ended, variant: str) -> dict[int, dict[str, Any]]:
    with ended.home.ledger() as db:
        result_rows = iter_rows(db, ended.run, stages=["rationale"], states=(DONE,), split=TRAIN)
        return {unit.number: unit.result for unit in result_rows if unit.variant == variant}


def test_each_example_is_shown_what_others_got_right(ended: Ended) -> None:
    first, second = asked(ended, ""), asked(ended, "round-2")
    assert set(first) == set(second) == set(range(EXAMPLES))
    right = {row: result for row, result in results(ended, "").items() if result["correct"]}
    assert 2 <= len(right) < EXAMPLES
    choices = set()
    for row, request in second.items():
        result = [message.content for message in request.messages if message.role == "assistant"]
        others = {result["text"] for other, result in right.items() if other != row}
        assert len(result) == len(set(result)) == 2
        assert set(result) <= others
        assert request.messages[-1] == first[row].messages[-1]
        # An exemplar is asked as the example itself was.
        turns = [message.content for message in request.messages if message.role == "user"]
        assert turns[0] in {before.messages[-1].content for before in first.values()}
        choices.add(tuple(result))
    assert len(choices) > 1


def test_rounds_are_counted_and_exported(ended: Ended) -> None:
    statistics = json.loads(ended.home.starmill("report", ended.run, "--format", "json").stdout)["statistics"]
    counts = [
        sum(result["correct"] for result in results(ended, variant).values()) for variant in ("", "round-2")
    ]
    assert [(each["rationales"], each["correct"]) for each in statistics["rounds"]] == [
        (EXAMPLES, count) for count in counts
    ]
    assert "Round 2, correct after all passes" in ended.completed.stdout
    exported = ended.home.export(ended.run, "synthetic")
    right = {row: 1 for row, result in results(ended, "").items() if result["correct"]}
    right |= {row: 2 for row, result in results(ended, "round-2").items() if result["correct"]}
    assert {row["row"]: row["round"] for row in exported if row["correct"]} == right
    assert {row["round"] for row in exported if not row["correct"]} <= {2}
    assert statistics["accepted"] == len(right)


def test_second_run_buys_no_call_again(ended: Ended, server: OpenAIServer) -> None:
    before = paid(server)
    assert max(before.values()) == 1
    ended.home.starmill("run", ended.experiment, "--local", "--new")
    assert paid(server) == before
