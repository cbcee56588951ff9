"""Experiment files and presets are found, overridden, and refused in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError, ExperimentError
from models.core.experiment.experiment import Experiment
from producer.experiments.load import PRESETS, load_experiment, presets
from tests.support.experiment_files import MINIMAL, load, refusal

# Lists of ten of the line before: 10,000 values in line 4, ten times as many in line 5.
LAUGHS = (
    "a: &a ["
    + "1," * 10
    + "]\n"
    + "".join(
        f"{name}: &{name} [{f'*{before},' * 10}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; an experiment is a mapping of name, data, models and steps, or of name"),
        ("- a", "is no mapping; an experiment is a mapping of name, data, models and steps"),
        ("name: [", "not valid YAML"),
        ("name: a\nname: b: c", "not valid YAML: mapping values are not allowed here; put a text that"),
        ("name: a\0", "not valid YAML: unacceptable character #x0000"),
        ("name: 2024-13-45", "not valid YAML: month must be in 1..12"),
        ("name: !!python/object:os.system x", "not valid YAML: could not determine a constructor"),
        ("[" * 1_000, "nested more than 40 levels deep; flatten it"),
        ("name: a\ndata: {a: " + "[" * 39, "mine.yaml:2: not valid YAML: nested more than 40 levels deep"),
        ("name: a\ndata: &a [*a]", "mine.yaml:2: not valid YAML: an alias stands within what it repeats"),
        (LAUGHS, "mine.yaml:5: not valid YAML: more than 20,000 values; put rows into a file of their own"),
        ("#" * (2**20 + 1), "not valid YAML: more than 1,048,576 bytes; put rows into a file of their own"),
    ],
)
def test_file_that_is_no_experiment_is_refused(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(tmp_path, text)


def test_line_of_a_slip_in_the_yaml_is_named(tmp_path: Path) -> None:
    assert re.search(r"mine\.yaml:2: not valid YAML", refusal(tmp_path, "name: a\nname: b: c\n"))


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(ExperimentError, match=r"mine\.yaml: cannot be read: 'utf-8' codec can't decode"):
        load_experiment(str(path))
    with pytest.raises(ExperimentError, match=r"cannot be read: .*Is a directory"):
        load_experiment(str(tmp_path))
    with pytest.raises(ExperimentError, match=r"^demmo: no such experiment .*; did you mean demo\?"):
        load_experiment("demmo")
    with pytest.raises(ExperimentError, match=r"presets are conala-paper, conala, demo"):
        load_experiment("elsewhere/nothing.yaml")


def test_presets_are_valid_and_described() -> None:
    descriptions = presets()
    assert set(descriptions) == {
        "demo", "conala", "conala-paper", "paper-table1", "retrieval-ablation", "tldr", "docqa"
    }  # fmt: skip
    assert all(descriptions.values())
    for name in descriptions:
        experiment = load_experiment(name)
        assert experiment.name == name
        assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


def test_preset_data_is_bundled_or_beside_you(tmp_path: Path) -> None:
    assert Path(load_experiment("demo").dataset.path) == PRESETS / "demo"
    paper = load_experiment("conala-paper")
    assert paper.dataset.path == str(tmp_path / "data" / "conala")
    assert paper.passages.path == str(tmp_path / "data" / "docs" / "python_docs_firstpara.jsonl.gz")
    moved = load_experiment("conala", ["dataset.path=there/conala", "passages.path=/docs.jsonl"])
    assert (moved.dataset.path, moved.passages.path) == (str(tmp_path / "there" / "conala"), "/docs.jsonl")


def test_paper_preset_makes_the_papers_choices() -> None:
    paper = load_experiment("conala-paper")
    assert (paper.rationale.correctness, paper.judge.extraction) == ("paper", "paper")
    assert (paper.rationale.passes, paper.rationale.drop_wrong, paper.rationale.hint) == (1, False, "paper")
    assert (paper.augment.batch_size, paper.augment.accept, paper.augment.on_failure) == (20, "any", "raw")
    assert (paper.grid.augment_test, paper.grid.augment_exemplars) == ([False], [True])
    assert paper.teacher
    assert {paper.teacher.params["max_tokens"], paper.augment.params["max_tokens"]} == {2048}
    assert paper.task
    assert "Build the code step by step" in paper.task.prompts.rationale
    assert all("This requires" in seed.request for seed in paper.rationale.seeds)
    for student in paper.students:
        assert (student.prompt_format, student.max_model_len) == ("raw", 2048)
        assert student.params.items() >= {"temperature": 0.5, "top_p": 0.5, "top_k": 50}.items()


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(tmp_path, MINIMAL).dataset.path == str(tmp_path / "data")
    overridden = load(tmp_path, MINIMAL, "dataset.path=../other")
    assert overridden.dataset.path == str(tmp_path / "other")
    assert load(tmp_path, MINIMAL, "dataset.path=bundled:demo").dataset.path == str(PRESETS / "demo")
    encoders = [
        load(tmp_path, MINIMAL, f"passages.encoder={name}").passages.encoder for name in ("minilm", "e5")
    ]
    assert encoders == ["minilm", str(tmp_path / "elsewhere" / "e5")]


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("seed=7", "seed", 7),
        ("name=other", "name", "other"),
        ("grid.shots=[0, 4]", "grid.shots", [0, 4]),
        ("passages.min_score=0.25", "passages.min_score", 0.25),
        ("augment.enabled=false", "augment.enabled", False),
        ("dataset.train.limit=5", "dataset.train", {"file": "train.jsonl", "limit": 5}),
        ("dataset.test=other.jsonl", "dataset.test", {"file": "other.jsonl", "limit": None}),
        ("teacher.params.temperature=0", "teacher.params", {"temperature": 0}),
        ("teacher.params={top_p: 0.5}", "teacher.params", {"top_p": 0.5}),
        ("students.0.name=small", "students.0.name", "small"),
        ("students.0={backend: embedded, name: other}", "students.0.name", "other"),
        ("students=[{backend: embedded, name: only}]", "students.0.name", "only"),
        ("rationale.params.stop=a=b", "rationale.params", {"stop": "a=b"}),
        ("dataset.fields.id=a: b: c", "dataset.fields.id", "a: b: c"),
    ],
)
def test_override_reaches_its_place(tmp_path: Path, override: str, where: str, value: Any) -> None:
    experiment: Any = load(tmp_path, MINIMAL, override).model_dump()
    for part in where.split("."):
        experiment = experiment[int(part)] if isinstance(experiment, list) else experiment[part]
    assert experiment == value


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "--set: seed: give it as key.key=value"),
        ("=1", "--set: =1: give it as key.key=value"),
        ("name.first=1", "--set: name.first: there is no such key in the experiment"),
        ("students.1.name=x", "--set: students.1.name: there is no such key in the experiment"),
        ("students.last.name=x", "--set: students.last.name: there is no such key in the experiment"),
        ("students.0.shape=1", "students.0.shape: unknown key; known are api_key_env"),
        ("passages.top_k=0", "passages.top_k: takes a whole number from 1 to 100"),
        ("seed=2024-13-45", 'seed: takes a whole number, found the text "2024-13-45"'),
        ("seed=[", 'seed: takes a whole number, found the text "["'),
    ],
)
def test_override_that_cannot_be_is_refused(tmp_path: Path, override: str, says: str) -> None:
    assert refusal(tmp_path, MINIMAL, override).startswith(says)


def test_later_override_wins(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL, "seed=1", "seed=2").seed == 2


def test_seeds_of_a_file_travel_with_the_experiment(tmp_path: Path) -> None:
    rows = '{"query": "q", "augmentation": "a", "note": "ignored"}\n\n{"request": "r", "augmentation": "b"}\n'
    (tmp_path / "seeds.jsonl").write_text(rows, encoding="utf-8")
    experiment = load(tmp_path, MINIMAL | {"augment": {"seeds": "seeds.jsonl"}})
    assert [(seed.request, seed.augmentation) for seed in experiment.augment.seeds] == [
        ("q", "a"),
        ("r", "b"),
    ]
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


def test_seeds_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(DatasetError, match=r"none\.jsonl: holds no seeds"):
        load(tmp_path, MINIMAL | {"rationale": {"seeds": "none.jsonl"}})
    with pytest.raises(DatasetError, match=r"missing\.jsonl: no such file"):
        load(tmp_path, MINIMAL | {"rationale": {"seeds": "missing.jsonl"}})
