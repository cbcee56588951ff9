"""Rows of every kind of file keep all of their columns, and what is wrong is named by its line."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from models.core.errors import DatasetError
from models.core.experiment.data_source import Data
from models.core.types import Example
from producer.experiments.data_rows import open_data
from storage.schema import TEST, TRAIN

CSV = 'id,question,answer,level\na,"two\nlines, ""quoted""",007,1\n\nb, é ,1.10,\n'
ROWS = [
    {"id": "a", "question": 'two\nlines, "quoted"', "answer": "007", "level": "1"},
    {"id": "b", "question": " é ", "answer": "1.10", "level": ""},
]


def read(path: Path | str, split: str = TRAIN, needs_request: bool = False, **options: Any) -> list[Example]:
    """Twice, since a split can be read as often as one likes."""
    rows = open_data(Data(path=str(path), **options), needs_request)[split]
    examples = list(rows)
    assert examples == list(rows)
    return examples


def columns(path: Path | str, split: str = TRAIN, **options: Any) -> list[dict[str, Any]]:
    return [dict(example.columns) for example in read(path, split, **options)]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DatasetError) as error:
        read(path, **options)
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(str(path))


def write(path: Path, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", CSV),
        ("rows.csv.gz", CSV),
        ("crlf.csv", CSV.replace("\n", "\r\n").replace("two\r\n", "two\n")),
        ("mark.csv", "\ufeff" + CSV),
        ("semicolons.csv", CSV.replace(",", ";").replace("lines;", "lines,")),
        ("rows.tsv", CSV.replace(",", "\t").replace("lines\t", "lines,")),
        ("rows.jsonl", "\n\n".join(map(json.dumps, ROWS))),
        ("rows.jsonl.gz", "\n".join(map(json.dumps, ROWS))),
        ("mark.jsonl", "\ufeff" + "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("rows.json", json.dumps(ROWS, indent=1)),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    examples = read(write(tmp_path / name, content))
    assert [dict(example.columns) for example in examples] == ROWS
    assert [(each.row, each.question_id, each.request, each.has_id) for each in examples] == [
        (0, "a", "", True),
        (1, "b", "", True),
    ]


def test_parquet_gives_json_values(tmp_path: Path) -> None:
    row = {
        "day": datetime.date(2026, 1, 2), "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "price": decimal.Decimal("3.10"), "count": 7, "share": 0.5, "nothing": float("nan"), "no": None,
        "right": True, "nested": {"level": 2, "names": ["x"]},
    }  # fmt: skip
    assert columns(write_parquet(tmp_path / "rows.parquet", [row])) == [
        row | {"day": "2026-01-02", "time": "2026-01-02T03:04:05", "price": "3.10", "nothing": None}
    ]


def test_ending_is_told_where_there_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", CSV)
    assert columns(path, format="csv") == ROWS
    assert refusal(path) == (
        ": its ending is none of .csv, .tsv, .jsonl, .json, .parquet; give it one, or set data.format"
    )


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "latin-1", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["csv", "json"])
def test_stated_encoding_is_read(tmp_path: Path, encoding: str, ending: str) -> None:
    text = CSV if ending == "csv" else json.dumps(ROWS, ensure_ascii=False)
    path = write(tmp_path / f"rows.{ending}", text.encode(encoding))
    assert columns(path, encoding=encoding) == ROWS


def test_encoding_is_checked() -> None:
    for encoding in ("utf-9", "rot13", "nul\0"):
        with pytest.raises(ValueError, match="takes an encoding of texts"):
            Data(path="rows.csv", encoding=encoding)


LONG = "x" * 200_000


def test_cell_of_any_length_is_read(tmp_path: Path) -> None:
    assert columns(write(tmp_path / "rows.csv", f"a,b\n{LONG},2\n")) == [{"a": LONG, "b": "2"}]


def test_row_that_is_too_short_has_empty_cells(tmp_path: Path) -> None:
    assert columns(write(tmp_path / "rows.csv", "a, b ,\n1\n1,2,3\n")) == [
        {"a": "1", "b": "", "Unnamed: 2": ""},
        {"a": "1", "b": "2", "Unnamed: 2": "3"},
    ]


WRONG_BYTE = "save it as UTF-8, or set data.encoding to that of the file, such as cp1252 or utf-16"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.csv", "", ": is empty; its first line must name the columns"),
        ("rows.csv", "a,b\n", ": holds no rows"),
        ("rows.csv", "\na,b\n1,2\n", ":1: has no header; the first line must name the columns"),
        ("rows.csv", "a,b,a\n1,2,3\n", ":1: columns 1 and 3 are both named 'a'; rename one of them"),
        (
            "rows.csv",
            'a,b\n1,"2\n3"\n\n1,2,3\n',
            ":5: has 3 cells, and the header names 2 columns; put cells that hold a ',' into quotes",
        ),
        ("rows.csv", 'a,b\n1,2\n3,"4\n', ":3: is no row of a ','-separated file: unexpected end of data"),
        ("rows.csv", b"a,b\n1,2\n3,caf\xe9\n", f":3: byte 0xe9 is not utf-8; {WRONG_BYTE}"),
        ("rows.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', f":2: byte 0xe9 is not utf-8; {WRONG_BYTE}"),
        ("rows.csv", b"a,b\n1,caf\xc3", f":2: byte 0xc3 is not utf-8; {WRONG_BYTE}"),
        ("rows.jsonl", "", ": holds no rows"),
        ("rows.jsonl", '{"a": 1}\n\n[1]\n', ":3: must be a JSON object, found list"),
        ("rows.jsonl", '{"a": 1}\n{"a": \n', ":2: is not JSON: Expecting value at column 7"),
        (
            "rows.jsonl",
            '{"a": 1}\n{"a": 1e999}\n',
            ":2: column 'a' holds an infinite number, which JSON",
        ),
        ("rows.jsonl", '{"a": ' + "[" * 600 + "]" * 600 + "}", ":1: column 'a' is nested too deeply"),
        ("rows.jsonl.gz", "no", ""),
        ("rows.json", '{"a": 1}', ": must be a JSON array of rows; with a row in each line name it .jsonl"),
        ("rows.json", '[{"a": 1}, 2]', ": row 2 must be an object, found int"),
        ("rows.json", '[{"a": 1},\n{"a" 1}]', ":2: is not JSON: Expecting ':' delimiter at column 6"),
        ("rows.json", "", ": holds no rows"),
        (
            "rows.parquet",
            "no parquet",
            ": is no parquet file that can be read: Parquet magic bytes not",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    path = write(tmp_path / name, content)
    if name.endswith(".gz"):
        path.write_bytes(path.read_bytes()[:-4])
        says = ": not a whole gzip file"
    assert refusal(path).startswith(says)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json", "rows.parquet"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name) == ": no such file"


def test_other_encoding_is_named_with_its_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", b"a,b\n1,2\n3,\x81\n")
    assert refusal(path, encoding="cp1252") == f":3: byte 0x81 is not cp1252; {WRONG_BYTE}"
    path.write_bytes(b"a,b\n1,2\n")
    assert refusal(path, encoding="utf-16") == f": is not utf-16; {WRONG_BYTE}"


def test_bytes_are_refused_by_the_name_of_their_column(tmp_path: Path) -> None:
    rows = [{"a": 1, "picture": {"bytes": b"\x89PNG", "path": "x.png"}}]
    assert refusal(write_parquet(tmp_path / "rows.parquet", rows)) == (
        ":1: column 'picture' holds bytes, which JSON cannot; leave the column out, or write it as text"
    )


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "rows.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(path) == ": reading parquet needs pyarrow; `pip install 'starmill[data]'`"
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=r"hf:a/b: needs datasets; `pip install 'starmill\[data\]'`"):
        read("hf:a/b")


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    table = pyarrow.table([[1], [2]], names=["a", "a"])
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert refusal(tmp_path / "rows.parquet") == (": columns 1 and 2 are both named 'a'; rename one of them")


def test_what_databases_refuse_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", r'{"a\u0000": "x\u0000\ud800", "b": [NaN, {"c": "\udfff"}]}')
    assert columns(path) == [{"a": "x?", "b": [None, {"c": "?"}]}]


def test_limit_leaves_the_rest_unread(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "a\n1\n2\n3,4\n")
    assert columns(path, limit=2) == [{"a": "1"}, {"a": "2"}]


def test_folder_holds_a_file_for_each_split(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.jsonl", '{"a": 1}\n')
    write(tmp_path / "train-00001-of-00002.jsonl", '{"a": 2}\n')
    write(tmp_path / "validation.csv", "a\n3\n")
    write(tmp_path / "notes.csv", "a\n4\n")
    assert columns(tmp_path) == [{"a": 1}, {"a": 2}]
    assert columns(tmp_path, TEST) == [{"a": "3"}]
    write(tmp_path / "test.csv", "a\n5\n")
    assert columns(tmp_path, TEST) == [{"a": "5"}]
    write(tmp_path / "test.jsonl", '{"a": 6}\n')
    assert refusal(tmp_path) == ": has test.csv and test.jsonl for split test; name one file as the data"


def test_folder_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", "a\n1\n")
    assert refusal(tmp_path) == (
        ": is no folder that `datasets` has saved, and has no file such as train.csv or train.jsonl; name "
        "the file"
    )


def test_text_files_are_read_without_heavy_packages(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", CSV)
    script = (
        "import sys\n"
        "from models.core.experiment.data_source import Data\n"
        "from producer.experiments.data_rows import open_data\n"
        f"assert len(list(open_data(Data(path={str(path)!r}), False)['train'])) == 2\n"
        "print([name for name in ('datasets', 'pandas', 'pyarrow', 'numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
