"""A result has its name when it is complete, and not before."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("name", ["n" * 255, "ö" * 127, "n" * 250 + ".csv"])
def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path, name: str) -> None:
    with replacing_file(tmp_path / name) as temporary:
        temporary.write_text("new")
    with replacing_folder(tmp_path / f"a{name[:-1]}") as temporary:
        assert temporary.is_dir()
    assert names(tmp_path) == sorted([name, f"a{name[:-1]}"])


@pytest.mark.parametrize("replacing", [replacing_file, replacing_folder])
def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path, replacing: Any) -> None:
    for path in (tmp_path / ("n" * 256), tmp_path / ("n" * 256) / "rows"):
        with pytest.raises(UsageError, match="cannot be written: File name too long"):
            replacing(path).__enter__()
    with pytest.raises(UsageError, match="-o -: writes a file, not standard output"):
        replacing_file(Path("-")).__enter__()


def test_a_link_goes_on_to_lead_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "rows", tmp_path / "disk" / "rows"
    link.symlink_to(target)
    for text in ("one", "two"):
        with replacing_file(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert names(tmp_path) == ["disk", "disk/rows", "rows"]
