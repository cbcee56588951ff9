"""A result has its name when it is complete, and not before."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from models.core.errors import UsageError
from producer.files import replacing_file, replacing_folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with replacing_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["rows.jsonl"]


def break_off(path: Path, error: BaseException) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text("half")
        raise error


def break_off_folder(path: Path, error: BaseException) -> None:
    with replacing_folder(path) as temporary:
        (temporary / "half").write_text("half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_interrupted_write_leaves_no_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(type(error)):
        break_off(path, error)
    with pytest.raises(type(error)):
        break_off_folder(tmp_path / "set", error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["rows.jsonl"]


def test_a_folder_keeps_the_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "set"
    for text in ("one", "two"):
        with replacing_folder(path) as temporary:
            (temporary / "data").mkdir()
            (temporary / "data" / "rows").write_text(text)
        assert (path / "data" / "rows").read_text() == text
        (path / "mine").write_text("mine")
    assert names(tmp_path) == ["set", "set/data", "set/data/rows", "set/mine"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*no; make it first"):
        replacing_file(tmp_path / "no" / "rows.jsonl").__enter__()
    with pytest.raises(UsageError, match="is not a file"):
        replacing_file(tmp_path).__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; this export writes a folder"):
        replacing_folder(tmp_path / "file").__enter__()
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UsageError, match=r"rows: cannot be written: No space left"):
        break_off(tmp_path / "rows", full)
    assert names(tmp_path) == ["file"]
