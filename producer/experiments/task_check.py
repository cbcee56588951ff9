"""Check a task folder before anything is planned.

Its first row fills its prompts, its own parsers read its seeds, and its own rules judge its references."""

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
# The minimum that turns a task folder into an experiment.
NO_DATA = {"path": ".", "train": "train.jsonl", "test": "test.jsonl"}
ROW = Example(0, "0", "a request", "an answer")
ENDPOINTS: dict[str, Any] = {"teacher": "embedded", "students": ["embedded"]}


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Counts of rows, passages and seeds; `first_prompt` is the teacher's prompt for the first row."""

    name: str
    train: int
    test: int
    passages: int
    seeds: int
    first_prompt: str


def check_task(folder: Path) -> TaskSummary:
    """Check the folder. Raise UsageError with file, line and remedy for the first thing that is wrong."""
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
    """Render every template with the first row, with and without documentation, hint and worked examples.

    Return the teacher's prompt. Raise TaskFolderError.
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
    first_prompt = ""
    for shown in ((), (SAMPLE,)):
        worked = [Exemplar(example.request, example.reference, text, shown) for text in ("", "Because.")]
        wording.student_prompt(example.request, shown, worked)
        for hint in (None, example.reference):
            messages = wording.rationale(example.request, shown, worked, hint, experiment.rationale.hint)
            first_prompt = first_prompt or messages[-1].content
    return first_prompt


def _check_seeds(experiment: Experiment, folder: Path) -> None:
    """Raise TaskFolderError for a seed that would be rejected as a model's answer."""
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


def _require(parsed: object, folder: Path, where: str, remedy: str) -> None:
    if isinstance(parsed, Rejection):
        raise TaskFolderError(
            folder / "task.yaml", None, f"{where}: {REASONS[parsed.reason].description}; {remedy}"
        )


def _check_references(experiment: Experiment, rows: Iterable[Example], folder: Path) -> int:
    """Return the number of rows. Raise TaskFolderError for a reference wrong by the folder's rules."""
    assert experiment.task
    module = load_module(experiment.task.module, str(folder / "task.py"))
    rules: set[Correctness] = {experiment.judge.correctness or "strict"}
    if experiment.rationale.correctness != "execution":
        rules.add(experiment.rationale.correctness)
    count = 0
    for count, example in enumerate(rows, 1):
        text = example.reference
        for rule in rules - {"model"}:
            right = module.correct(text, text) if rule == "module" else same_answer(rule, text, text)
            if not right:
                problem = f"row {count}: by rule {rule} its own reference {text!r} is not right"
                raise TaskFolderError(folder, None, f"{problem}; mend the row, or take another rule")
        if experiment.judge.extraction == "module":
            module.extract(f"The answer is {text}")
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
