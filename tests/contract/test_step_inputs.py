"""Results that a claimed unit of a step is given: a vote those of all samples, others those of their own."""

from __future__ import annotations

from storage.database import Database
from tests.support.step_runs import StepRun, drafted, rows

Found = dict[tuple[str, int], list[tuple[str, int]]]


def given(run: StepRun, step: str) -> Found:
    """The steps and samples whose results each unit of a step gets, by the step's row and sample."""
    return {
        (f"row {unit.example.row}", unit.sample): sorted((name, sample) for name, _, sample in unit.inputs)
        for unit in run.claim(step)
    }


def test_units_get_what_their_kind_reads(database: Database) -> None:
    steps = {
        "topic": {"prompt": "{{ question }}"},
        "draft": {"prompt": "{{ topic }}", "samples": 3},
        "critique": {"model": "critic", "prompt": "{{ draft }}", "score": [1, 5]},
        "best": {"of": "draft", "by": "critique.score"},
        "last": {"prompt": "{{ best }} {{ topic }}"},
    }
    run = StepRun.plan(database, rows(2), steps=steps)
    run.end("topic", drafted)
    run.end("draft", lambda unit: "refusal" if (unit.example.row, unit.sample) == (1, 2) else drafted(unit))
    found = given(run, "critique")
    assert len(found) == 5
    assert {("topic", 0), ("draft", 1)} <= set(found["row 0", 1])
    assert ("draft", 0) in found["row 1", 0]
    assert ("draft", 2) not in found["row 1", 0]


def test_a_vote_gets_all_samples_that_were_made(database: Database) -> None:
    steps = {
        "draft": {"prompt": "{{ question }}", "samples": 3},
        "best": {"of": "draft"},
        "last": {"prompt": "{{ best }}"},
    }
    run = StepRun.plan(database, rows(1), steps=steps)
    run.end("draft", lambda unit: "null" if unit.sample == 1 else drafted(unit))
    [vote] = run.claim("best")
    assert {sample: result["value"] for (_, _, sample), result in vote.inputs.items()} == {
        0: "draft 0 of 0", 2: "draft 2 of 0",
    }  # fmt: skip
