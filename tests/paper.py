"""What the paper's models wrote, as recordings: of train the rows with a visible STaR rationale."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chores import FUNCTIONS, read_jsonl, write_jsonl

Row = dict[str, Any]
STUDENTS = {"mpt-7b-chat": "mosaic-chat", "alpaca-7b": "alpaca"}
# Of the students' cells: no exemplars, no documentation.
CELL = "0_False_False"


@dataclass(frozen=True)
class Bootstrap:
    """A folder with train.json, test.json, passages.jsonl and recordings. `first_pass` and `star` are the
    paper's rationales by question id, each beside its train row."""

    folder: Path
    train: dict[str, Row]
    first_pass: dict[str, Row]
    star: dict[str, Row]

    @classmethod
    def write(cls, data: Path, folder: Path, *, joined: bool) -> Bootstrap:
        """Of rows that share an id the last, as in the paper. `joined`: the requests are those that the
        paper asked, with their augmentations, in place of terse requests to be augmented."""
        paper, conala = data / "paper", data / "conala"
        rows = json.loads((conala / "train.json").read_text())
        augmented = packed(paper / "teacher_query_augmentations.jsonl.gz")
        star = by_id(packed(paper / "teacher_rationales_star_visible.jsonl.gz"))
        first = by_id(packed(paper / "teacher_rationales_first_pass.jsonl.gz"))
        first = {key: row for key, row in first.items() if key in star}
        train = {key: row for key, row in by_id(rows).items() if key in star}
        if joined:
            train = {key: {**row, "nl": first[key]["query"]} for key, row in train.items()}
        # A line for each row of the split, in its order: the last of an id is that of the last row.
        sentences = {key: row["augmentation"] for key, row in by_id(augmented).items() if key in star}
        teacher = [
            *of_stage("augment", sentences),
            *of_stage("rationale", {key: row["rationale"] for key, row in first.items()}),
            *of_stage("rationalize", {key: row["rationale"] for key, row in star.items()}),
        ]
        write_jsonl(folder / "teacher.jsonl", teacher)
        for student, name in STUDENTS.items():
            answers = read_jsonl(paper / "completions_visible" / f"{name}__{CELL}.jsonl")
            said = {row["question_id"]: row["prediction"] for row in answers}
            write_jsonl(folder / f"{student}.jsonl", of_stage("answer", said))
        test = by_id(json.loads((conala / "test_visible.json").read_text()))
        for split, found in {"train": train, "test": test}.items():
            (folder / f"{split}.json").write_text(json.dumps(list(found.values())))
        # What is found is shown to nobody: few passages do.
        passages = [{"id": f"lib.{name}", "name": name, "signature": shape, "text": text}
                    for name, shape, text in FUNCTIONS]  # fmt: skip
        write_jsonl(folder / "passages.jsonl", passages)
        return cls(folder, train, first, star)

    def settings(self) -> list[str]:
        """Of the preset `conala-paper`: the same models, but answering from recordings; one cell."""
        students = [
            {"name": student, "backend": "replay", "model": student, "recording": f"{student}.jsonl"}
            for student in STUDENTS
        ]
        return [
            "dataset.path=.", "passages.path=passages.jsonl",
            "teacher.backend=replay", "teacher.recording=teacher.jsonl", f"students={json.dumps(students)}",
            "grid={shots: [0], retrieval: [false], rationale: [none]}",
        ]  # fmt: skip


def packed(path: Path) -> list[Row]:
    with gzip.open(path) as lines:
        return [json.loads(line) for line in lines]


def by_id(rows: list[Row]) -> dict[str, Row]:
    """The last row of each id."""
    return {row["question_id"]: row for row in rows}


def of_stage(stage: str, texts: dict[str, str]) -> list[Row]:
    return [{"stage": stage, "question_id": key, "text": text} for key, text in texts.items()]
