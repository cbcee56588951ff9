"""Every example is read as it is written, and every bad row is named by file, line and reason."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError, UsageError
from models.core.experiment.options import Dataset
from models.core.types import Example
from producer.experiments.datasets import read_dataset
from producer.experiments.row_requirements import require_right_passages
from storage.schema import TEST, TRAIN
from tests.support.small_run import experiment
from tests.support.task_folders import conala

ROW = {"id": "a", "request": "sort x", "reference": "sorted(x)"}
DOCPROMPTING_ROW = {
    "question_id": "17-3",
    "nl": "sort x",
    "cmd": "sorted(x)",
    "oracle_man": ["library#sorted"],
}


def dataset(folder: Path, **changes: Any) -> Dataset:
    return Dataset.model_validate(
        {"path": str(folder), "train": "train.jsonl", "test": "test.jsonl"} | changes
    )


def write(path: Path, *rows: Any) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl", ROW)
    write(tmp_path / "test.jsonl", ROW)
    return tmp_path


def read(given: Dataset) -> dict[str, list[Example]]:
    """Twice, since a split can be read as often as one likes."""
    splits = read_dataset(experiment(dataset=given))
    rows_by_split = {split: list(rows) for split, rows in splits.items()}
    assert rows_by_split == {split: list(rows) for split, rows in splits.items()}
    return rows_by_split


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(DatasetError) as error:
        read(dataset(folder, **changes))
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def test_rows_become_examples(folder: Path) -> None:
    odd = {
        "id": 7,
        "request": " tab\t'é' 😀 \u2028",
        "reference": "x = '''\n'''",
        "oracle": ["m.f", 3],
        "more": 1,
    }
    write(folder / "train.jsonl", ROW, "", "  ", odd, {"request": "r", "reference": "c"}, ROW | {"id": None})
    assert read(dataset(folder))[TRAIN] == [
        Example(0, "a", "sort x", "sorted(x)"),
        Example(1, "7", " tab\t'é' 😀 \u2028", "x = '''\n'''", ("m.f", "3")),
        Example(2, "2", "r", "c", has_id=False),
        Example(3, "3", "sort x", "sorted(x)", has_id=False),
    ]


def test_columns_are_kept_where_a_template_names_one(folder: Path) -> None:
    row = ROW | {"level": 3}
    write(folder / "train.jsonl", row)
    given = dataset(folder)
    [plain] = read_dataset(experiment(dataset=given))[TRAIN]
    assert plain.columns == {}
    task = conala()
    asks = task.prompts.model_copy(update={"answer": task.prompts.answer.replace("{{", "{{ level }}{{", 1)})
    [kept] = read_dataset(experiment(dataset=given, task=task.model_copy(update={"prompts": asks})))[TRAIN]
    assert kept == Example(0, "a", "sort x", "sorted(x)", columns=row)


def test_characters_that_databases_refuse_are_replaced(folder: Path) -> None:
    row = r'{"id": "a\u0000\ud800", "request": "r\u0000\udfff", "reference": "c", "oracle": ["p\u0000"]}'
    write(folder / "train.jsonl", row)
    assert read(dataset(folder))[TRAIN] == [Example(0, "a?", "r?", "c", ("p",))]


def test_rows_that_share_an_id_are_all_kept(folder: Path) -> None:
    write(folder / "test.jsonl", ROW, ROW | {"reference": "x.sort()"}, ROW)
    examples = read(dataset(folder))[TEST]
    assert [(example.row, example.question_id) for example in examples] == [(0, "a"), (1, "a"), (2, "a")]


def test_fields_are_mapped(folder: Path) -> None:
    for name in ("train", "test"):
        write(folder / f"{name}.jsonl", {"q": "r", "code": "c", "key": 1, "docs": ["d"]})
    fields = {"request": "q", "reference": "code", "id": "key", "oracle": "docs"}
    assert read(dataset(folder, fields=fields))[TEST] == [Example(0, "1", "r", "c", ("d",))]
    assert refusal(folder) == "train.jsonl:1: has no 'request'; map the names with dataset.fields"


@pytest.mark.parametrize(
    ("of_all", "of_split", "kept"), [(None, None, 5), (2, None, 2), (None, 3, 3), (2, 3, 2), (4, 3, 3)]
)
def test_smaller_limit_holds(folder: Path, of_all: int | None, of_split: int | None, kept: int) -> None:
    write(folder / "train.jsonl", *[ROW] * 5)
    examples = read(dataset(folder, limit=of_all, train={"file": "train.jsonl", "limit": of_split}))
    assert len(examples[TRAIN]) == kept
    assert len(examples[TEST]) == 1


def test_rows_beyond_the_limit_are_not_judged(folder: Path) -> None:
    write(folder / "train.jsonl", ROW, "{")
    assert len(read(dataset(folder, limit=1))[TRAIN]) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"request": "r", ', "is not JSON: Expecting property name enclosed in double quotes at column 18"),
        ("plain words", "is not JSON: Expecting value at column 1"),
        ('["r", "c"]', "must be a JSON object, found list"),
        ("3", "must be a JSON object, found int"),
        ("null", "must be a JSON object, found NoneType"),
        ("[" * 200_000, "is not JSON that can be read: maximum recursion depth exceeded"),
        ('{"id": ' + "1" * 5_000 + "}", "is not JSON that can be read: Exceeds the limit (4300 digits)"),
        ('{"request": "r"}', "has no 'reference'; map the names with dataset.fields"),
        ('{"request": " \\n", "reference": "c"}', "'request' must be a text that is not empty"),
        ('{"request": "\\u0000", "reference": "c"}', "'request' must be a text that is not empty"),
        ('{"request": "r", "reference": null}', "'reference' must be a text that is not empty"),
        ('{"request": ["r"], "reference": "c"}', "'request' must be a text that is not empty"),
        ('{"request": "r", "reference": "c", "oracle": "m.f"}', "'oracle' must be a list of passage ids"),
    ],
)
def test_bad_line_is_named(folder: Path, line: str, says: str) -> None:
    write(folder / "test.jsonl", ROW, "", line, ROW)
    assert refusal(folder).startswith(f"test.jsonl:3: {says}")


def test_line_that_is_not_utf_8_is_named(folder: Path) -> None:
    good = json.dumps(ROW).encode()
    (folder / "train.jsonl").write_bytes(good + b"\n" + good.replace(b"sort x", b"caf\xe9") + b"\n")
    assert refusal(folder) == "train.jsonl:2: is not UTF-8"


def test_byte_order_mark_is_no_part_of_the_row(folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n")
    assert read(dataset(folder))[TRAIN] == [Example(0, "a", "sort x", "sorted(x)")]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_file_without_examples_is_refused(folder: Path, text: str) -> None:
    (folder / "test.jsonl").write_text(text)
    assert refusal(folder) == "test.jsonl: holds no examples"


def test_files_that_are_not_there_are_named(folder: Path) -> None:
    assert refusal(folder, test="other.jsonl") == "other.jsonl: no such file"
    (folder / "folder.jsonl").mkdir()
    assert refusal(folder, test="folder.jsonl") == "folder.jsonl: cannot be read: Is a directory"
    with pytest.raises(
        DatasetError, match=r"nowhere: no such folder; set dataset\.path to the folder of the data"
    ):
        read(dataset(folder / "nowhere"))


def test_gzipped_file_is_read_and_a_broken_one_refused(folder: Path) -> None:
    packed = gzip.compress(
        b"".join(json.dumps(ROW | {"id": number}).encode() + b"\n" for number in range(2_000))
    )
    path = folder / "train.jsonl.gz"
    path.write_bytes(packed)
    assert len(read(dataset(folder, train="train.jsonl.gz"))[TRAIN]) == 2_000
    path.write_bytes(packed[: len(packed) // 2])
    assert "not a whole gzip file: Compressed file ended" in refusal(folder, train="train.jsonl.gz")
    path.write_bytes(packed[:100] + b"\0" * 50 + packed[150:])
    assert "not a whole gzip file" in refusal(folder, train="train.jsonl.gz")
    path.write_text(json.dumps(ROW))
    assert refusal(folder, train="train.jsonl.gz") == "train.jsonl.gz:1: not a whole gzip file: " \
        "Not a gzipped file (b'{\"')"  # fmt: skip


def docprompting_refusal(folder: Path, text: str) -> str:
    (folder / "train.json").write_text(text)
    return refusal(folder, loader="docprompting", train="train.json", test="train.json")


def test_docprompting_rows_become_examples(folder: Path) -> None:
    (folder / "train.json").write_text(json.dumps([DOCPROMPTING_ROW, DOCPROMPTING_ROW]))
    examples = read(dataset(folder, loader="docprompting", train="train.json", test="train.json"))
    expected = [Example(row, "17-3", "sort x", "sorted(x)", ("library#sorted",)) for row in (0, 1)]
    assert examples == {TRAIN: expected, TEST: expected}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "train.json: must be a JSON array of rows"),
        ("[]", "train.json: holds no examples"),
        ("[1]", "train.json: row 1 must be an object, found int"),
        ('[\n{"nl": "r",\n}]', "train.json:3: is not JSON"),
        ('[{"nl": "r"}]', "train.json:1: has no 'cmd'"),
        ("[" * 200_000, "train.json: is not JSON that can be read"),
    ],
)
def test_bad_docprompting_file_is_named(folder: Path, text: str, says: str) -> None:
    assert docprompting_refusal(folder, text).startswith(says)


def test_published_split_is_read_whole(reference_data: Path) -> None:
    files = {"train": "train.json", "test": "dev.json"}
    examples = read(dataset(reference_data / "conala", loader="docprompting", **files))[TRAIN]
    ids = Counter(example.question_id for example in examples)
    assert len(examples) == 2135
    assert len(ids) == 2135 - 14


def test_right_passages_are_shown_only_where_there_are_some() -> None:
    unnamed, named = (
        Example(0, "a", "sort x", "sorted(x)"),
        Example(1, "b", "sort x", "sorted(x)", ("sorted",)),
    )
    oracle = {"alternatives": {"right": {"control": "oracle"}}}
    wanted = experiment(passages=oracle, grid={"retrieval": [False, "right"]})
    with pytest.raises(UsageError, match=r"passages.alternatives.right.control: oracle .* dataset.fields"):
        require_right_passages(wanted, {TRAIN: [unnamed], TEST: [unnamed]})
    with pytest.raises(UsageError, match=r"^passages.control: oracle"):
        require_right_passages(experiment(passages={"control": "oracle"}), {TRAIN: [unnamed], TEST: []})
    require_right_passages(wanted, {TRAIN: [unnamed], TEST: [unnamed, named]})
    require_right_passages(experiment(passages=oracle), {TRAIN: [unnamed], TEST: [unnamed]})
