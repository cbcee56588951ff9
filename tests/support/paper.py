"""Recordings of the paper's models; train holds the rows with a visible STaR rationale."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.chores import FUNCTIONS, read_jsonl, write_jsonl

Row = dict[str, Any]
# Of the students' answers: no exemplars, no documentation.
STUDENT, ANSWERS = "mpt-7b-chat", "mosaic-chat__0_False_False"


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
        """Write the last of rows that share an id, as in the paper. `joined` takes the paper's requests
        with their augmentations, in place of terse requests to be augmented."""
        paper, conala = data / "paper", data / "conala"
        rows = json.loads((conala / "train.json").read_text())
        augmented = packed(paper / "teacher_query_augmentations.jsonl.gz")
        star = by_id(packed(paper / "teacher_rationales_star_visible.jsonl.gz"))
        first = by_id(packed(paper / "teacher_rationales_first_pass.jsonl.gz"))
        first = {key: row for key, row in first.items() if key in star}
        train = {key: row for key, row in by_id(rows).items() if key in star}
        if joined:
            train = {key: {**row, "nl": first[key]["query"]} for key, row in train.items()}
        answers = by_id(read_jsonl(paper / "completions_visible" / f"{ANSWERS}.jsonl"))
        # A line for each row of the split, in its order: the last of an id is that of the last row.
        sentences = {key: row["augmentation"] for key, row in by_id(augmented).items() if key in star}
        recording = [
            *of_stage("augment", sentences),
            *of_stage("rationale", {key: row["rationale"] for key, row in first.items()}),
            *of_stage("rationalize", {key: row["rationale"] for key, row in star.items()}),
            *of_stage("answer", {key: row["prediction"] for key, row in answers.items()}),
        ]
        write_jsonl(folder / "recording.jsonl", recording)
        test = by_id(json.loads((conala / "test_visible.json").read_text()))
        for split, kept_rows in {"train": train, "test": test}.items():
            (folder / f"{split}.json").write_text(json.dumps(list(kept_rows.values())))
        # What is found is shown to nobody: few passages do.
        passages = [{"id": f"lib.{name}", "name": name, "signature": shape, "text": text}
                    for name, shape, text in FUNCTIONS]  # fmt: skip
        write_jsonl(folder / "passages.jsonl", passages)
        return cls(folder, train, first, star)

    def settings(self) -> list[str]:
        """Return settings for the preset `conala-paper`: models that answer from the recording; one cell."""
        replayed = {"backend": "replay", "recording": "recording.jsonl"}
        student = {"name": STUDENT, "model": STUDENT, **replayed}
        return [
            "dataset.path=.",
            "dataset.test=test.json",
            "passages.path=passages.jsonl",
            *(f"teacher.{key}={value}" for key, value in replayed.items()),
            f"students={json.dumps([student])}",
            "grid={shots: [0], retrieval: [false], rationale: [none]}",
        ]


def packed(path: Path) -> list[Row]:
    with gzip.open(path) as lines:
        return [json.loads(line) for line in lines]


def by_id(rows: list[Row]) -> dict[str, Row]:
    """The last row of each id."""
    return {row["question_id"]: row for row in rows}


def of_stage(stage: str, texts: dict[str, str]) -> list[Row]:
    return [{"stage": stage, "question_id": key, "text": text} for key, text in texts.items()]
