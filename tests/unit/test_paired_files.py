"""`starmill score --paired` on files of a few lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.chores import write_jsonl
from tests.support.command_line import starmill

A, B = "a.jsonl", "b.jsonl"


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, predictions: dict[str, str]) -> None:
    rows = [
        {"question_id": key, "prediction": text, "reference": "right()"} for key, text in predictions.items()
    ]
    write_jsonl(Path(name), rows)


def compared(capsys: pytest.CaptureFixture[str], *files: str) -> dict[str, Any]:
    assert starmill("score", *files, "--paired", "--json") == 0
    files_by_name: dict[str, Any] = json.loads(capsys.readouterr().out)["files"]
    return files_by_name


def test_files_are_compared_on_the_rows_that_both_have(capsys: pytest.CaptureFixture[str]) -> None:
    """60 rows of 30 questions; six questions become right in both of their rows."""
    keys = [f"{number // 2}-{number}" for number in range(60)]
    write(A, {"99-1": "right()"} | dict.fromkeys(keys, "wrong()"))
    write(B, {key: "right()" if at < 12 else "wrong()" for at, key in enumerate(keys)} | {"98": "x"})
    paired = compared(capsys, A, B)[B]["paired"]
    sizes = (paired["n"], paired["questions"], paired["only_first"], paired["only_second"])
    assert sizes == (60, 30, 1, 1)
    assert paired["scores"]["exact_match"] == [0, 20]
    exact = paired["differences"]["exact_match"]
    # Swaps of six questions: 2 of 64 are as large.
    assert (exact["value"], exact["enough_rows"]) == (20, True)
    assert exact["p_value"] == pytest.approx(2 / 64)
    assert 0 < exact["low"] < 20 < exact["high"]
    assert exact["least_visible"] > 10


def test_each_file_is_compared_with_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [str(number) for number in range(60)]
    write(A, dict.fromkeys(keys, "wrong()"))
    write(B, dict.fromkeys(keys, "right()"))
    write("c.jsonl", dict.fromkeys(keys, "wrong()"))
    assert starmill("score", A, B, "c.jsonl", "--paired") == 0
    text = capsys.readouterr().out
    assert "b.jsonl less a.jsonl: 60 rows of 60 questions" in text
    [exact, same] = [line.split() for line in text.splitlines() if line.startswith("exact ")]
    assert exact == ["exact", "0.00", "100.00", "+100.00*", "[94.0,", "100.0]", "<", "0.0001", "-", "-"]
    assert same == ["exact", "0.00", "0.00", "+0.00", "[-6.0,", "6.0]", "1.000", "-", "-"]
    said = " ".join(text.split())
    assert "corrected for all 2 tests of a score" in said
    assert "Intervals and least visible differences are not corrected." in said


def test_few_rows_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    write(A, {str(number): "wrong()" for number in range(10)})
    write(B, {str(number): "right()" for number in range(10)})
    assert starmill("score", A, B, "--paired") == 0
    text = capsys.readouterr().out
    assert re.search(r"exact .* \+100\.00 +\[72\.2, 100\.0\] +too few to compare +- +-", text)
    assert "*" not in text.split("Intervals")[0]
    assert "Below 50 rows or 6 questions nothing is tested." in " ".join(text.split())


@pytest.mark.parametrize(
    ("questions", "test"), [(1, "too few to compare"), (5, "too few to compare"), (6, "0.031")]
)
def test_rows_of_few_questions_are_not_compared(
    questions: int, test: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """60 rows; with five questions no p could be below 2 / 2^5, which is no significance."""
    keys = [f"{1 + number % questions}-{number}" for number in range(60)]
    write(A, dict.fromkeys(keys, "wrong()"))
    write(B, dict.fromkeys(keys, "right()"))
    assert starmill("score", A, B, "--paired") == 0
    [exact] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("exact ")]
    assert f" {test} " in exact
    assert ("*" in exact) == (questions == 6)


def test_intervals_are_of_differences_that_there_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    """Two questions, of which one changes: the tails of Student's t reach a thousand points."""
    write(A, {"1": "right()", "2": "wrong()"})
    write(B, {"1": "right()", "2": "right()"})
    differences = compared(capsys, A, B)[B]["paired"]["differences"]
    assert all(-100 <= each["low"] <= each["high"] <= 100 for each in differences.values())
    assert differences["exact_match"]["low"] == -100


def test_equal_answers_leave_room_for_a_difference_in_every_score(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (A, B):
        write(name, {str(number): "right()" if number % 2 else "wrong()" for number in range(60)})
    differences = compared(capsys, A, B)[B]["paired"]["differences"]
    intervals = {(each["low"], each["high"]) for each in differences.values()}
    assert intervals == {(-6.0172, 6.0172)}


def test_other_references_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question_id": key, "prediction": "x", "reference": "y"} for key in "abc"]
    write_jsonl(Path(A), rows)
    write_jsonl(Path(B), [{**row, "reference": "z"} if row["question_id"] != "a" else row for row in rows])
    assert compared(capsys, A, B)[B]["paired"]["other_references"] == 2
    assert starmill("score", A, B, "--paired") == 0
    assert "2 of these rows have another reference in each file" in capsys.readouterr().out


def test_names_of_files_are_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 columns, and names that differ in their ends."""
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"mosaic-chat__0_False_{end}.jsonl" for end in ("False", "True")]
    for name in names:
        write(name, {"1": "right()"})
    assert starmill("score", *names, "--intervals") == 0
    first_column = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert "".join(first_column) == "".join(names)


def test_files_of_one_name_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Files that each run leaves in a folder of its own."""
    files = ["one/a.jsonl", "two/a.jsonl"]
    for name in files:
        Path(name).parent.mkdir()
        write(name, {"1": "right()"})
    write(B, {"1": "right()"})
    assert starmill("score", *files, B, "--paired") == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[1:4]] == [*files, B]
    assert "two/a.jsonl less one/a.jsonl: 1 rows" in text
    assert "b.jsonl less one/a.jsonl: 1 rows" in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([A], "--paired compares files with the first; name two at least, each once"),
        ([A, A], "--paired compares files with the first; name two at least, each once"),
        ([A, B], "b.jsonl has no question_id of a.jsonl; compare answers to the same rows"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    files: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(A, {"1": "x"})
    write(B, {"2": "x"})
    assert starmill("score", *files, "--paired") == 2
    assert capsys.readouterr().err == f"starmill: {message}\n"


def test_star_of_the_paper_is_compared_with_its_first_pass(
    reference_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reference_data / "paper" / "completions_visible"
    first, star = (str(folder / f"alpaca__{name}2_False_True.jsonl") for name in ("", "star_"))
    paired = compared(capsys, first, star)[star]["paired"]
    assert (paired["n"], paired["questions"]) == (278, 184)
    difference = paired["differences"]["char_bleu"]
    assert difference["low"] < difference["value"] < difference["high"]
    assert difference["p_value"] > 0.5
    assert 4 < difference["least_visible"] < 9
