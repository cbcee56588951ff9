"""A task folder put to the test before anything is planned: its prompts with its own first rows, its seeds by
its own parsers, its references by its own rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from models.core.answers.checks import REASONS
from models.core.answers.parsers import parse_augmentation, parse_rationale
from models.core.correctness import Correctness, same_answer
from models.core.errors import TaskFolderError
from models.core.experiment.experiment import Experiment
from models.core.experiment.task_folder import load_module
from models.core.prompts.rendering import PromptRenderer
from models.core.types import Completion, Example, Exemplar, Passage, Rejection, Usage
from producer.corpus import read_passages
from producer.experiments.datasets import read_dataset
from producer.experiments.load import make_experiment
from producer.experiments.task_folders import read_task
from storage.schema import TEST, TRAIN

SAMPLE = Passage("sample", "sample", "(value)", "Documentation of a sample.")
# The least that makes an experiment of a task folder.
NO_DATA = {"path": ".", "train": "train.jsonl", "test": "test.jsonl"}
ROW = Example(0, "0", "a request", "an answer")
ENDPOINTS: dict[str, Any] = {"teacher": "embedded", "students": ["embedded"]}


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """How many rows, passages and seeds the folder has; `first_prompt` is what the teacher would be asked of
    the first row."""

    name: str
    train: int
    test: int
    passages: int
    seeds: int
    first_prompt: str


def check_task(folder: Path) -> TaskSummary:
    """Raises UsageError with file, line and remedy for the first thing that is wrong."""
    _, decided = read_task(folder)
    config: dict[str, Any] = {"name": "check", "task": str(folder.resolve()), **ENDPOINTS}
    if (folder / "verdict.j2").exists():
        config["judge"] = {"model": "embedded"}
    if "dataset" not in decided:
        config["dataset"] = NO_DATA
    experiment = make_experiment(str(folder / "task.yaml"), config, folder)
    splits = read_dataset(experiment.dataset) if "dataset" in decided else {TRAIN: [ROW], TEST: []}
    first_prompt = check_prompts(experiment, splits[TRAIN])
    _check_seeds(experiment, folder)
    counts = {split: _check_references(experiment, rows, folder) for split, rows in splits.items()}
    known = {each.id for each in read_passages(experiment.passages)} if "passages" in decided else set()
    if known:
        _check_oracles(splits, known, experiment)
    seeds = len(experiment.augment.seeds) + len(experiment.rationale.seeds)
    if "dataset" not in decided:
        counts[TRAIN] = 0
    return TaskSummary(folder.resolve().name, counts[TRAIN], counts[TEST], len(known), seeds, first_prompt)


def check_prompts(experiment: Experiment, rows: Iterable[Example]) -> str:
    """Renders every template with the first row, with and without documentation, hint and worked examples.

    Returns what the teacher would be asked. Raises TaskFolderError.
    """
    assert experiment.task
    wording = PromptRenderer(experiment.task)
    [example] = islice(rows, 1)
    if experiment.task.prompts.augment:
        wording.augmentation(example.request, [])
        wording.augmentations([example.request], [])
    if experiment.task.prompts.verdict:
        wording.verdict(example.request, example.reference, example.reference)
    if experiment.task.prompts.grow:
        wording.growth([(example.request, example.reference)], experiment.grow.requests)
    said = ""
    for shown in ((), (SAMPLE,)):
        worked = [Exemplar(example.request, example.reference, text, shown) for text in ("", "Because.")]
        wording.student_prompt(example.request, shown, worked)
        for hint in (None, example.reference):
            messages = wording.rationale(example.request, shown, worked, hint, experiment.rationale.hint)
            said = said or messages[-1].content
    return said


def _check_seeds(experiment: Experiment, folder: Path) -> None:
    """They pass the checks that a model's own texts have to pass."""
    for number, augmented in enumerate(experiment.augment.seeds, 1):
        _require(
            parse_augmentation(_completion(augmented.augmentation), augmented.request), folder,
            f"augment.seeds, seed {number}",
            'an augmentation starts with "This requires" and says more than its request',
        )  # fmt: skip
    for number, reasoned in enumerate(experiment.rationale.seeds, 1):
        _require(
            parse_rationale(_completion(reasoned.rationale), reasoned.request, hinted=False), folder,
            f"rationale.seeds, seed {number}", 'a rationale ends with "The answer is" and the answer',
        )  # fmt: skip


def _require(found: object, folder: Path, where: str, remedy: str) -> None:
    if isinstance(found, Rejection):
        raise TaskFolderError(folder / "task.yaml", None, f"{where}: {REASONS[found.reason].says}; {remedy}")


def _check_references(experiment: Experiment, rows: Iterable[Example], folder: Path) -> int:
    """How many rows there are. A reference is right by the folder's own rules; a judge model is not asked."""
    assert experiment.task
    module = load_module(experiment.task.module, str(folder / "task.py"))
    rules: set[Correctness] = {experiment.judge.correctness or "strict"}
    if experiment.rationale.correctness != "execution":
        rules.add(experiment.rationale.correctness)
    count = 0
    for count, example in enumerate(rows, 1):
        said = example.reference
        for rule in rules - {"model"}:
            right = module.correct(said, said) if rule == "module" else same_answer(rule, said, said)
            if not right:
                problem = f"row {count}: by rule {rule} its own reference {said!r} is not right"
                raise TaskFolderError(folder, None, f"{problem}; mend the row, or take another rule")
        if experiment.judge.extraction == "module":
            module.extract(f"The answer is {said}")
    return count


def _check_oracles(
    splits: Mapping[str, Iterable[Example]], known: Collection[str], experiment: Experiment
) -> None:
    for split, rows in splits.items():
        for example in rows:
            for name in example.oracle:
                if name not in known:
                    where = Path(experiment.dataset.path) / getattr(experiment.dataset, split).file
                    problem = f"row {example.row + 1} names passage {name!r}, which is not there"
                    raise TaskFolderError(where, None, f"{problem}; mend its id, or add the passage")


def _completion(text: str) -> Completion:
    return Completion(text, "stop", Usage())
