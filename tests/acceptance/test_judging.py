"""`starmill score` and `starmill audit`, on the paper's own outputs and on bad input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.chores import read_jsonl
from tests.support.command_line import starmill

ROW = {"question_id": "1-1", "prediction": "f(x)", "reference": "f(x)"}


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    output = capsys.readouterr()
    assert output.err == ""
    value: dict[str, Any] = json.loads(output.out)
    return value


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_score_gives_the_papers_48_numbers(reference_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper = reference_data / "paper"
    expected = json.loads((paper / "expected_visible_scores.json").read_text())
    files = sorted(str(path) for path in (paper / "completions_visible").glob("*.jsonl"))
    assert starmill("score", *files, "--rules", "paper", "--json") == 0
    printed_ = printed(capsys)["files"]
    assert {Path(name).stem: {key: scores[key] for key in expected[Path(name).stem]}
            for name, scores in printed_.items()} == expected  # fmt: skip


def test_the_papers_outputs_are_one_table_against_one_file(
    reference_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper, right = reference_data / "paper", str(reference_data / "conala" / "test_visible.json")
    expected = json.loads((paper / "expected_visible_scores.json").read_text())
    files = []
    for path in sorted((paper / "completions_visible").glob("*.jsonl"))[::5]:
        rows = [{**row, "reference": "not this"} for row in read_jsonl(path)]
        files.append(write(tmp_path / path.name, *rows))
    assert starmill("score", *files, "--reference", right) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["file", "n", "BLEU-4", "charBLEU", "exact"]
    shown = {line.split()[0].removesuffix(".jsonl"): line.split()[1:5] for line in lines}
    assert shown == {
        name: [str(scores["n"]), *(f"{scores[key]:.2f}" for key in ("bleu4", "char_bleu", "exact_match"))]
        for name, scores in expected.items()
        if name in {Path(file).stem for file in files}
    }
    row = {"question_id": "9-9", "prediction": "x"}
    assert starmill("score", write(tmp_path / "other.jsonl", row), "--reference", right) == 2
    assert "other.jsonl:1: question_id 9-9 has no reference in" in capsys.readouterr().err


def test_one_file_is_one_object_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path / "a.jsonl", {**ROW, "prediction": "The answer is `f(x)`."}, {**ROW, "question_id": 2}
    )
    assert starmill("score", file, "--rules", "strict", "--intervals", "--json") == 0
    printed_ = printed(capsys)
    assert (printed_["n"], printed_["exact_match"], printed_["rules"]) == (2, 100.0, "strict")
    assert printed_["intervals"]["exact_match"] == [34.24, 100.0]  # of Wilson
    assert starmill("score", file, "--json") == 0
    assert printed(capsys)["exact_match"] == 50.0


def test_the_last_row_of_an_id_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.jsonl.gz"
    rows = [ROW, {**ROW, "question_id": "2"}, {**ROW, "prediction": None}]
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\r\n" for row in rows).encode()))
    assert starmill("score", str(file), "--json") == 0
    printed_ = printed(capsys)
    assert (printed_["n"], printed_["repeated"], printed_["exact_match"]) == (2, 1, 50.0)


def test_rows_that_are_left_out_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten rows with two ids: two count by the paper's rule, all by the other."""
    rows = [{**ROW, "question_id": number % 2, "reference": f"f({number})"} for number in range(10)]
    file = write(tmp_path / "ten.jsonl", *rows)
    assert starmill("score", file) == 0
    *table, said = capsys.readouterr().out.splitlines()
    assert table[1].split()[:2] == ["ten.jsonl", "2"]
    assert said.startswith("ten.jsonl: 8 of 10 rows share an id with a later row and are left out, as in the")
    assert starmill("score", file, "--rules", "strict") == 0
    [_, line] = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["ten.jsonl", "10"]


def test_each_row_of_an_id_meets_its_own_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with a line for each row, and one that kept the last of them."""
    right = write(tmp_path / "right.jsonl", *({"question_id": "1", "reference": name} for name in "abc"))
    each = [{"question_id": "1", "prediction": name} for name in "abx"]
    for rows, rules, n, exact in (
        (each, "strict", 3, 66.67),
        (each[1:], "strict", 2, 50.0),
        ([{"question_id": "1", "prediction": "c"}], "strict", 1, 100.0),
        (each, "paper", 1, 0.0),
    ):
        file = write(tmp_path / "a.jsonl", *rows)
        assert starmill("score", file, "--reference", right, "--rules", rules, "--json") == 0
        scores = printed(capsys)
        assert (scores["n"], scores["repeated"], scores["exact_match"]) == (n, len(rows) - n, exact)
    assert starmill("score", write(tmp_path / "a.jsonl", *each, each[0]), "--reference", right,
                    "--rules", "strict") == 2  # fmt: skip
    assert "a.jsonl:1: question_id 1 has 4 rows from here on and 3 references in" in capsys.readouterr().err
    rationales = [{"question_id": "1", "rationale": f"The answer is {name}"} for name in "ab"]
    file = write(tmp_path / "r.jsonl", *rationales)
    assert starmill("audit", file, "--reference", right, "--json") == 0
    assert printed(capsys)["correct"]["strict"] == 0
    assert starmill("audit", write(tmp_path / "r.jsonl", *rationales[::-1], rationales[0]),
                    "--reference", right, "--json") == 0  # fmt: skip
    assert printed(capsys)["correct"]["strict"] == 0


def test_a_table_of_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert starmill("score", write(tmp_path / "a.jsonl", ROW), write(tmp_path / "b.jsonl", ROW)) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["file", "n", "BLEU-4", "charBLEU"]
    assert [row.split()[:2] for row in rows] == [["a.jsonl", "1"], ["b.jsonl", "1"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.jsonl: holds no rows"),
        (b"\n{broken\n", "a.jsonl:2: is not JSON"),
        (b"[1]\n", "a.jsonl:1: must be a JSON object"),
        (b'{"question_id": "1", "prediction": "x"}\n', "a.jsonl:1: has no 'reference'"),
        (b'{"prediction": "x", "reference": "x"}\n', "a.jsonl:1: needs a 'question_id'"),
        (b'{"question_id": 1, "prediction": [], "reference": ""}\n', "'prediction' must be a text"),
        (b"\xff\n", "a.jsonl:1: is not UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert starmill("score", str(tmp_path / "a.jsonl")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert starmill("score", str(tmp_path / "none.jsonl")) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err


def test_audit_counts_the_papers_rationales(reference_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper, train = reference_data / "paper", str(reference_data / "conala" / "train.json")
    first = str(paper / "teacher_rationales_first_pass.jsonl.gz")
    assert starmill("audit", first, "--reference", train, "--json") == 0
    printed_ = printed(capsys)
    assert (printed_["n"], printed_["hint_leaks"]) == (2117, 0)
    assert printed_["correct"] == {"paper": 189, "strict": 147, "tree": 182}
    assert printed_["failure_modes"]["no_answer_sentence"] == printed_["no_answer_sentence"] == 302
    second = str(paper / "teacher_rationales_star_visible.jsonl.gz")
    assert starmill("audit", second, "--reference", train) == 0
    shown = capsys.readouterr().out
    assert "mention their hint: 1679798-8, 849674-100, 30062429-17, 1720421-49, 38081866-23" in shown


def test_audit_names_a_rationale_without_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rationales = write(tmp_path / "a.jsonl", {"question_id": "9", "rationale": "x"})
    references = write(tmp_path / "b.jsonl", {"question_id": "1", "reference": "x"})
    assert starmill("audit", rationales, "--reference", references) == 2
    assert "a.jsonl:1: question_id 9 has no reference in" in capsys.readouterr().err
