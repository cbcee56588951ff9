"""A recorded answer of a student belongs to its cell: by what its line says, or by the file it stands in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError, NotRecorded
from models.core.pipeline.grid import cells
from models.core.pipeline.plan import planned_slots
from models.core.recording import Asker, Recorded, Recording
from models.core.types import Request
from producer.experiments.load import pin_recordings
from storage.jsonl import read_recorded
from tests.support.chores import write_jsonl
from tests.support.experiment_files import MINIMAL, load, refusal

PROMPT = Request("host:1/v1", "m", prompt="one two")
ASKER = Asker("answer", "test", "7", "sort it", row=0, cell="small/2-shot")
FILES = {"0-shot": "0.jsonl", "0-shot/retrieval": "0r.jsonl"}


def recording(*rows: dict[str, Any]) -> Recording:
    return Recording("r.jsonl", "ab" * 32, enumerate(rows, 1))


def text(recorded: Recorded, asker: Asker) -> str | None:
    return recorded.answer(recorded.named(PROMPT, asker)).text


def test_a_line_answers_its_own_cell_before_one_without_a_cell() -> None:
    key = {"stage": "answer", "question_id": "7"}
    recorded = recording(
        {**key, "text": "any"},
        {**key, "text": "two", "cell": "small/2-shot"},
        {**key, "text": "star", "variant": "small/2-shot/star"},
    )
    names = ("small/2-shot", "small/2-shot/star", "small/0-shot")
    assert [text(recorded, replace(ASKER, cell=name)) for name in names] == ["two", "star", "any"]
    # A cell that no line names has no answer, if every line names one.
    with pytest.raises(NotRecorded, match="answer of 7 in small/0-shot"):
        text(recording({**key, "text": "two", "cell": "small/2-shot"}), replace(ASKER, cell="small/0-shot"))


def test_a_line_answers_its_own_seed_before_one_without_a_sample() -> None:
    key = {"stage": "answer", "question_id": "7", "cell": "small/2-shot"}
    recorded = recording({**key, "text": "first"}, {**key, "text": "second", "sample": 1})
    assert [text(recorded, replace(ASKER, sample=each)) for each in (0, 1, 2)] == ["first", "second", "first"]


def test_predictions_answer_every_row_of_their_id() -> None:
    """Such files keep one line of an id, others one for each row."""
    recorded = recording(
        {"question_id": "7", "prediction": "x", "reference": "y"}, {"question_id": "8", "prediction": "a"},
        {"question_id": "8", "prediction": None}, {"row": 4, "prediction": "by number"},
    )  # fmt: skip
    repeats = [text(recorded, replace(ASKER, nth_of_id=nth)) for nth in (0, 1)]
    assert repeats == ["x", "x"]
    asker = replace(ASKER, question_id="8")
    assert [text(recorded, replace(asker, nth_of_id=nth)) for nth in (0, 1, 2)] == ["a", "", ""]
    assert text(recorded, replace(ASKER, question_id="9", row=4)) == "by number"
    with pytest.raises(NotRecorded):
        text(recorded, replace(ASKER, question_id="9"))
    with pytest.raises(DatasetError, match="'prediction' must be a text, found int"):
        recording({"question_id": "7", "prediction": 1})


def experiment(folder: Path, files: dict[str, str] = FILES, **more: Any) -> dict[str, Any]:
    """Return a grid of two cells, whose answers are a file for each cell."""
    for number, name in enumerate(FILES.values()):
        write_jsonl(folder / "answers" / name, [{"question_id": "7", "prediction": str(number)}])
    recorded = {"folder": "answers", "cells": files}
    student = {"name": "small", "backend": "replay", "model": "m", "recording": recorded}
    grid = {"shots": [0], "retrieval": [False, True], "rationale": ["none"]}
    bare = {key: value for key, value in MINIMAL.items() if key not in ("teacher", "passages")}
    return bare | {"students": [student], "grid": grid} | more


def test_each_file_answers_its_cell_and_nothing_else_is_planned(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    loaded = load(tmp_path, experiment(tmp_path))
    [student] = pin_recordings(loaded).students
    recorded = read_recorded(student)
    names = [cell.name for cell in cells(loaded)]
    assert names == ["small/0-shot", "small/0-shot/retrieval"]
    assert [text(recorded, replace(ASKER, cell=name)) for name in names] == ["0", "1"]
    # Neither documentation nor a teacher is needed, and no search is planned.
    slots = planned_slots(loaded)
    assert not slots["train"]
    assert [slot.stage for slot in slots["test"]] == ["answer", "judge"] * 2
    with pytest.raises(NotRecorded, match="holds no recording of small/2-shot"):
        text(recorded, ASKER)


def test_files_stand_beside_the_experiment_if_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    config = experiment(tmp_path)
    config["students"][0]["recording"] = {"cells": {cell: f"answers/{name}" for cell, name in FILES.items()}}
    recorded = read_recorded(load(tmp_path, config).students[0])
    assert text(recorded, replace(ASKER, cell="small/0-shot/retrieval")) == "1"


def test_cells_may_share_a_file_whose_lines_name_theirs(tmp_path: Path) -> None:
    """The lines of an export of answers also have the whole text beside the prediction."""
    (tmp_path / "answers").mkdir()
    config = experiment(tmp_path, dict.fromkeys(FILES, "all.jsonl"))
    names = [f"small/{cell}" for cell in FILES]
    lines = [{"question_id": "7", "variant": name, "text": f"Text of {name}", "prediction": "x"}
             for name in names]  # fmt: skip
    write_jsonl(tmp_path / "answers" / "all.jsonl", lines)
    recorded = read_recorded(load(tmp_path, config).students[0])
    assert [text(recorded, replace(ASKER, cell=name)) for name in names] == [f"Text of {n}" for n in names]


def test_files_of_cells_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    pinned = pin_recordings(load(tmp_path, experiment(tmp_path)))
    assert pinned.students[0].recording_sha256
    assert pin_recordings(pinned) == pinned
    write_jsonl(tmp_path / "answers" / "0.jsonl", [{"question_id": "7", "prediction": "other"}])
    with pytest.raises(DatasetError, match=r"answers: is not the recording whose recording_sha256 is"):
        pin_recordings(pinned)


def test_cells_and_files_must_match(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    lacking = refusal(tmp_path, experiment(tmp_path, {"0-shot": "0.jsonl"}))
    assert "students.0.recording.cells has no file for 0-shot/retrieval; add one" in lacking
    unknown = refusal(tmp_path, experiment(tmp_path, {**FILES, "0-shots": "0.jsonl"}))
    assert "has 0-shots, which is no cell of the grid; did you mean 0-shot?" in unknown
    teacher = {"backend": "replay", "model": "m", "recording": {"folder": "answers", "cells": FILES}}
    assert "only students have cells" in refusal(tmp_path, experiment(tmp_path, teacher=teacher))


def test_recorded_lines_may_be_written_by_anyone(tmp_path: Path) -> None:
    """Line ends and order of keys do not matter."""
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"prediction": "x", "question_id": 7}) + "\r\n")
    student = {"name": "small", "backend": "replay", "model": "m", "recording": str(path)}
    loaded = load(tmp_path, MINIMAL | {"students": [student]})
    assert text(read_recorded(loaded.students[0]), ASKER) == "x"
