"""Folders that `datasets` has saved, and names of its Hub, are read without loading a model's packages."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import UsageError
from models.core.experiment.data_source import Data
from producer.experiments.data_rows import open_data
from storage.schema import TEST, TRAIN

ROWS = [{"question": f"q {n}", "answer": n, "meta": {"level": 1}, "day": "2026-01-02"} for n in range(2_500)]


def columns(path: Path | str, **options: Any) -> dict[str, list[dict[str, Any]]]:
    splits = open_data(Data(path=str(path), **options), needs_request=False)
    return {split: [dict(example.columns) for example in rows] for split, rows in splits.items()}


def refusal(path: Path | str) -> str:
    with pytest.raises(UsageError) as error:
        columns(path)
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` split, and `several` of them."""
    import datasets

    folder = tmp_path_factory.mktemp("saved")
    day = datetime.date(2026, 1, 2)
    one = datasets.Dataset.from_list([row | {"day": day} for row in ROWS])
    one.save_to_disk(str(folder / "one"))
    several = {"train": one.select(range(2, 4)), "validation": one.select([0]), "test": one.select([1])}
    datasets.DatasetDict(several).save_to_disk(str(folder / "several"))
    odd = dict.fromkeys(("easy", "hard"), one.select([0]))
    datasets.DatasetDict(odd).save_to_disk(str(folder / "odd"))
    return folder


def test_saved_dataset_is_read(saved: Path) -> None:
    assert columns(saved / "one") == {TRAIN: ROWS}
    assert columns(saved / "one", limit=3) == {TRAIN: ROWS[:3]}


def test_splits_of_a_saved_dataset_are_used(saved: Path) -> None:
    assert columns(saved / "several") == {TRAIN: ROWS[2:4], TEST: ROWS[1:2]}
    assert columns(saved / "several" / "validation") == {TRAIN: ROWS[:1]}


def test_splits_without_train_are_named(saved: Path) -> None:
    assert refusal(saved / "odd") == (
        f"has splits easy, hard, and none is train; name one of them as {saved / 'odd'}/NAME"
    )


def test_damaged_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    assert refusal(tmp_path).startswith("is no folder that `datasets` can read: ")


def test_reading_loads_no_model(saved: Path) -> None:
    script = (
        "import sys\n"
        "from models.core.experiment.data_source import Data\n"
        "from producer.experiments.data_rows import open_data\n"
        f"assert len(list(open_data(Data(path={str(saved / 'one')!r}), False)['train'])) == {len(ROWS)}\n"
        "print([name for name in ('torch', 'transformers', 'tensorflow', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `datasets` takes for its Hub: it looks for a name in the current folder first."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "sums"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text(f"question,answer\n{split},2\n")
    return tmp_path


def test_name_of_the_hub_is_loaded(hub: Path) -> None:
    train, test = ({"question": split, "answer": 2} for split in ("train", "test"))
    assert columns("hf:owner/sums") == {TRAIN: [train], TEST: [test]}
    assert columns("hf:owner/sums/default") == {TRAIN: [train], TEST: [test]}
    assert columns("hf:owner/sums?split=test") == {TRAIN: [test]}


def test_unknown_split_and_configuration_are_named(hub: Path) -> None:
    assert refusal("hf:owner/sums?split=tset") == (
        "cannot be loaded: Unknown split \"tset\". Should be one of ['train', 'test']"
    )
    assert refusal("hf:owner/sums/main").startswith("cannot be loaded: BuilderConfig 'main' not found.")


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c/d", "hf:a//b", "hf:a?part=x", "hf:a?split"])
def test_name_that_is_none_is_refused(name: str) -> None:
    assert "is no name of a dataset; write hf:NAME[/CONFIG][?split=NAME]" in refusal(name)


def test_hub_that_is_away_is_said_in_one_line(tmp_path: Path) -> None:
    script = (
        "from models.core.errors import DatasetError\n"
        "from models.core.experiment.data_source import Data\n"
        "from producer.experiments.data_rows import open_data\n"
        "try: open_data(Data(path='hf:nobody/nothing'), False)\n"
        "except DatasetError as error: print(error)"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == (
        "hf:nobody/nothing: Couldn't reach 'nobody/nothing' on the Hub (OfflineModeIsEnabled); is this "
        "machine offline? name a file or a saved folder in place of it\n"
    )
    assert done.stderr == ""
