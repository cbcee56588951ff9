"""Detectors of parroting, redundancy and hint leaks beside 200 of the paper's rationales, read and labelled.

`rationale_labels.csv` names rows by file, number and question, and holds none of their text. 102 are drawn at
random, the others lie near the borders of parroting, redundancy and leaks.

- `parroting`: the explanation says nothing that its request does not, in other grammar. A generic construct
  (a comprehension, a loop, a module) and the code of the answer add nothing, the name of a function does.
- `redundancy`: a sentence says in nearly the same words what an earlier one says. The answer is none.
- `hint_leak`: it speaks of a hint or an answer that it was given.

Thresholds were set on rows whose question has an even number. The others show what they are worth.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from models.core.answers.checks import failure_modes
from models.core.words import question_group
from tests.support.paper import packed

LABELS = Path(__file__).with_name("rationale_labels.csv")


@pytest.mark.parametrize(
    ("mode", "tuned", "untouched"),
    [
        ("parroting", (17, 3, 5), (20, 1, 8)),
        ("redundancy", (7, 2, 4), (13, 6, 6)),
        ("hint_leak", (3, 0, 0), (2, 0, 0)),
    ],
)
def test_detectors_agree_with_labels(
    reference_data: Path, mode: str, tuned: tuple[int, ...], untouched: tuple[int, ...]
) -> None:
    """Count rows that are marked and labelled, marked only, and labelled only."""
    files = {
        name: packed(reference_data / "paper" / f"teacher_rationales_{name}.jsonl.gz")
        for name in ("first_pass", "star_visible")
    }
    counts = [[0, 0, 0], [0, 0, 0]]
    for label in csv.DictReader(LABELS.read_text().splitlines()):
        row = files[label["file"]][int(label["row"])]
        assert row["question_id"] == label["question_id"]
        labelled = mode in label["labels"].split()
        marked = mode in failure_modes(row["rationale"], row["query"])
        if labelled or marked:
            half = int(question_group(label["question_id"])) % 2
            counts[half][0 if labelled and marked else 1 if marked else 2] += 1
    assert [tuple(half) for half in counts] == [tuned, untouched]


def test_modes_of_the_papers_first_pass(reference_data: Path) -> None:
    rows = packed(reference_data / "paper" / "teacher_rationales_first_pass.jsonl.gz")
    modes = [failure_modes(row["rationale"], row["query"]) for row in rows]
    counts = {mode: sum(mode in each for each in modes) for mode in ("parroting", "redundancy", "hint_leak")}
    assert counts == {"parroting": 284, "redundancy": 287, "hint_leak": 0}
