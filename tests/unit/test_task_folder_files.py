"""Task folders are found, read into an experiment, and refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from models.core.errors import UsageError
from models.core.experiment.task_folder import load_module
from producer.experiments.load import load_experiment
from producer.experiments.task_check import check_task
from producer.experiments.task_folders import SCAFFOLD, shipped_tasks
from tests.support.experiment_files import MINIMAL, load, refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SCAFFOLD, tmp_path / "units"))


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def complaint(folder: Path) -> str:
    with pytest.raises(UsageError) as error:
        check_task(folder)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(folder), "units")


def test_default_task_is_conala(tmp_path: Path) -> None:
    experiment = load(tmp_path, MINIMAL)
    assert experiment.task
    assert experiment.task.name == "conala"
    assert experiment.rationale.seeds
    assert load(tmp_path, MINIMAL | {"task": "conala"}) == experiment


def test_experiment_overrides_the_task_folder(folder: Path) -> None:
    own = load_experiment(str(folder / "experiment.yaml"))
    assert own.name == "NAME"
    assert own.dataset.path == str(folder)
    assert own.passages.path == str(folder / "passages.jsonl")
    assert (own.rationale.correctness, own.dataset.fields.reference) == ("text", "answer")
    changed = load_experiment(
        str(folder / "experiment.yaml"), ["rationale.correctness=strict", "dataset.train.limit=2"]
    )
    assert (changed.rationale.correctness, changed.dataset.train.file) == ("strict", "train.jsonl")
    assert changed.dataset.train.limit == 2
    config = MINIMAL | {"task": "units", "passages": {"source": "installed", "packages": ["json"]}}
    other = load(folder.parent, config)
    assert (other.passages.path, other.passages.top_k) == (None, 3)
    assert other.dataset.path == str(folder.parent / "data")


def test_changed_wording_makes_another_run(folder: Path) -> None:
    path = str(folder / "experiment.yaml")
    before = load_experiment(path)
    put(folder, "answer.j2", (folder / "answer.j2").read_text().replace("Answer:", "Reply:"))
    assert load_experiment(path) != before


def test_a_task_on_the_command_line_is_seen_from_where_one_stands(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment("demo", ["task=units", "judge.metrics=[accuracy]"])
    assert experiment.task
    assert (experiment.task.name, experiment.judge.metrics) == ("units", ["accuracy"])


def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "tldrr: no such task folder; did you mean tldr?" in refusal(tmp_path, MINIMAL | {"task": "tldrr"})
    assert "shipped are conala, docqa, qa, tldr" in refusal(tmp_path, MINIMAL | {"task": "./x"})
    assert "must be the name of a shipped task folder" in refusal(tmp_path, MINIMAL | {"task": 3})
    assert set(shipped_tasks()) == {"conala", "docqa", "qa", "tldr"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("task.yaml", "stop: [", "units/task.yaml:1: not valid YAML"),
        ("task.yaml", "- a", "units/task.yaml: must be a mapping"),
        ("task.yaml", "datset: {}", "units/task.yaml: unknown key datset; did you mean dataset?"),
        ("task.yaml", "judge: 3", "units/task.yaml: judge must be a mapping"),
        ("task.yaml", "stop: 3", "units/task.yaml: task.stop: takes a list, found the number 3"),
        ("rationale.j2", "{% include 'x' %}", "units/rationale.j2:1: other files cannot be included, "),
        ("answer.j2", "\n{% block user %}{{ ''.__class__ }}{% endblock %}", "answer.j2:2: there is no"),
        ("task.py", "def f(:", "units/task.py:1: is no Python"),
        ("train.jsonl", '{"request": "x"}', "units/train.jsonl:1: has no 'answer'"),
        ("test.jsonl", '{"request": "x", "answer": "y", "oracle": ["z"]}', "row 1 names passage 'z'"),
        ("augmentations.jsonl", '{"request": "x", "augmentation": "y"}', "augment.seeds, seed 1: the"),
        ("rationales.jsonl", '{"request": "x", "rationale": "y"}', "rationale.seeds, seed 1: the"),
        ("test.jsonl", '{"request": "x", "answer": "."}', "by rule text its own reference '.' is not"),
    ],
)  # fmt: skip
def test_broken_task_folder_is_refused_in_one_line(folder: Path, name: str, text: str, says: str) -> None:
    put(folder, name, text)
    assert says in complaint(folder)


def test_growth_needs_its_template(folder: Path) -> None:
    path = str(folder / "experiment.yaml")
    assert load_experiment(path, ["grow.enabled=true"]).grow.enabled
    (folder / "grow.j2").unlink()
    assert not load_experiment(path).grow.enabled
    with pytest.raises(UsageError, match=r"task folder units has no grow\.j2"):
        load_experiment(path, ["grow.enabled=true"])
    put(folder, "grow.j2", "{% block system %}{% endblock %}{% block shown %}{{ request }}{% endblock %}")
    assert "units/grow.j2:1: block 'user' is missing" in complaint(folder)


def test_missing_part_of_a_task_folder_is_named(folder: Path) -> None:
    (folder / "augment.j2").unlink()
    path = str(folder / "experiment.yaml")
    assert not load_experiment(path).augment.enabled
    with pytest.raises(UsageError, match=r"has no augment\.j2, so augment\.enabled and grid\.augment_test"):
        load_experiment(path, ["augment.enabled=true"])
    (folder / "rationale.j2").unlink()
    with pytest.raises(UsageError, match=r"has no rationale\.j2, which asks the teacher; write one"):
        load_experiment(path)
    (folder / "task.yaml").unlink()
    assert complaint(folder).startswith("units/task.yaml: is missing")


def test_a_module_parses_and_judges(folder: Path) -> None:
    config = yaml.safe_load((folder / "task.yaml").read_text())
    config["judge"] |= {"correctness": "module", "extraction": "module"}
    put(folder, "task.yaml", yaml.safe_dump(config))
    assert "rule module needs a task.py" in complaint(folder)
    put(folder, "task.py", "def correct(answer, reference):\n    return answer == reference\n")
    assert "has no function extract" in complaint(folder)
    put(folder, "task.py", (folder / "task.py").read_text() + "def extract(text):\n    return text[1:]\n")
    assert check_task(folder).train == 6
    put(folder, "task.py", "def correct(answer, reference):\n    return 1 / 0\n")
    assert ":2: ZeroDivisionError: division by zero" in complaint(folder)


def test_a_module_is_named_by_its_content() -> None:
    module = load_module("def extract(text):\n    return text.upper()\n")
    assert module.extract("a") == "A"
    assert module.name.startswith("task.py@")
    assert load_module("def extract(text):\n    return ''\n").name != module.name


def test_a_judge_model_is_needed_where_it_is_asked(tmp_path: Path) -> None:
    config = {"name": "x", "task": "docqa", "teacher": "embedded", "students": ["embedded"]}
    assert "rule model needs judge.model" in refusal(tmp_path, config)
    experiment = load(tmp_path, config | {"judge": {"model": "embedded"}})
    assert experiment.asks_judge
    assert "needs a verdict.j2 in task folder tldr" in refusal(
        tmp_path, config | {"task": "tldr", "judge": {"model": "embedded", "correctness": "model"}}
    )
