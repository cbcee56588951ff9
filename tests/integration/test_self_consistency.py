"""A run that draws five rationales for each example, from a model that now and then answers nothing."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models.core.correctness import majority
from models.core.pipeline.rounds import SAMPLE
from storage.ledger.queries import ResultRow, iter_rows
from storage.schema import ALREADY_CORRECT, DONE, FAILED, FINAL, GENERATIONS, SKIPPED, TRAIN, UPSTREAM_FAILED
from tests.openai_server.process import running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import Ended, Home, run_locally

EXAMPLES, SAMPLES, SEED = 12, 5, 7
PASSES, STOP_AT = 3, 2

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    folder = tmp_path_factory.mktemp("voted")
    data = write_data(folder / "data", train=EXAMPLES, test=2)
    with running("--references", str(data / "references.jsonl")) as server:
        # A sample is asked for four times at most: about one in eight fails for good.
        server.configure(malformed=0.6, kinds="null")
        params = {"seed": SEED, "temperature": 0.7}
        experiment = write_experiment(
            data,
            server.url,
            teacher={"backend": "openai", "model": "large", "base_url": server.url, "params": params},
            augment={"enabled": False},
            rationale={"samples": SAMPLES, "hint": "paper", "passes": PASSES, "stop_at": STOP_AT},
            grid={"shots": [2], "retrieval": [False], "rationale": ["first_pass"]},
        )
        yield run_locally(Home(folder / "home"), experiment, expect=1)


@pytest.fixture(scope="module")
def rationales(ended: Ended) -> dict[int, dict[tuple[str, int], ResultRow]]:
    """Units of the stage by row, variant and sample."""
    by_example: dict[int, dict[tuple[str, int], ResultRow]] = defaultdict(dict)
    with ended.home.ledger() as db:
        for row in iter_rows(db, ended.run, stages=["rationale"], states=(DONE, FAILED), split=TRAIN):
            by_example[row.number][row.variant, row.sample] = row
    return by_example


def test_vote_is_the_majority_of_samples(rationales: dict[int, dict[tuple[str, int], ResultRow]]) -> None:
    assert len(rationales) == EXAMPLES
    failed = groups = 0
    for units in rationales.values():
        vote, *drawn = (units[index] for index in sorted(units))
        assert sorted(units) == [("", 0), *((SAMPLE, number) for number in range(SAMPLES))]
        done = [sample for sample in drawn if sample.state == DONE]
        failed += SAMPLES - len(done)
        expected = majority([sample.result["answer"] for sample in done])
        elected = done[expected.index]
        votes = {"samples": len(done), "winner": expected.winner, "groups": expected.groups}
        assert (vote.state, vote.generation) == (DONE, elected.generation)
        assert vote.result == elected.result | {"votes": votes}
        groups = max(groups, expected.groups)
    assert failed > 0
    assert groups > 1


def test_each_sample_is_a_call_of_its_own(
    ended: Ended, rationales: dict[int, dict[tuple[str, int], ResultRow]]
) -> None:
    drawn = [
        unit for units in rationales.values() for (variant, _), unit in units.items() if variant == SAMPLE
    ]
    assert len({unit.generation for unit in drawn}) == len(drawn)
    with ended.home.ledger() as db, db.read() as connection:
        asked: dict[str, dict[str, Any]] = {
            row.key: row.request
            for row in connection.execute(select(GENERATIONS.c.key, GENERATIONS.c.request))
        }
    for unit in drawn:
        sample, attempt = asked[unit.generation or ""]["draw"]
        assert sample == unit.sample
        assert asked[unit.generation or ""]["params"]["seed"] == SEED + 1009 * sample + attempt


def test_later_steps_use_the_elected_rationale(
    ended: Ended, rationales: dict[int, dict[tuple[str, int], ResultRow]]
) -> None:
    status = ended.home.json("status")
    stage = status["stages"]["rationale"]
    assert (status["state"], stage["planned"]) == ("finished", EXAMPLES * (SAMPLES + 1))
    votes = Counter(units["", 0].result["correct"] for units in rationales.values())
    statistics = json.loads(ended.home.starmill("report", ended.run, "--format", "json").stdout)["statistics"]
    assert (statistics["rationales"], statistics["first_pass_correct"]) == (EXAMPLES, votes[True])
    exported = ended.home.export(ended.run, "synthetic")
    assert {row["row"] for row in exported} == set(range(EXAMPLES))
    first = {row["row"]: row for row in reversed(exported)}
    for row in first.values():
        answered = rationales[row["row"]]["", 0].result["votes"]["samples"]
        # A vote costs nothing itself; a wrong one was tried again, if the model answered then.
        assert len(row["provenance"]["generations"]) - answered == row["pass"]


def test_passes_go_on_until_enough_are_right(
    ended: Ended, rationales: dict[int, dict[tuple[str, int], ResultRow]]
) -> None:
    """With a hint this model is right, where it answers at all."""
    passes: dict[int, list[ResultRow]] = defaultdict(list)
    with ended.home.ledger() as db:
        for row in iter_rows(db, ended.run, stages=["rationalize"], states=FINAL, split=TRAIN):
            passes[row.number].append(row)
    ends: Counter[str | None] = Counter()
    for number, tried in passes.items():
        right = int(rationales[number]["", 0].result["correct"])
        because = None
        assert [row.variant for row in tried] == [f"pass-{index + 1}" for index in range(PASSES)]
        for row in tried:
            if because:
                assert (row.state, row.reason) == (SKIPPED, because)
            elif row.state == FAILED:
                because = UPSTREAM_FAILED
            else:
                assert (row.state, row.result["correct"]) == (DONE, True)
                right += 1
                because = ALREADY_CORRECT if right == STOP_AT else None
        ends[because] += 1
    assert ends[ALREADY_CORRECT] > 0
    assert ends[None] == 0


def test_a_retry_sends_no_sample_that_no_longer_counts(ended: Ended, tmp_path: Path) -> None:
    home = Home(shutil.copytree(ended.home.path, tmp_path / "home"))
    before = home.json("status")["stages"]["rationale"]
    assert before["failed"] > 0
    home.starmill("retry", ended.run)
    assert home.json("status")["stages"]["rationale"] == before
    assert "no failed units that anything waits for" in home.starmill("retry", ended.run).stderr
