"""Check a task folder before anything is planned.

Its first row fills its prompts, its own parsers read its seeds, and its own rules judge its references."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
from models.core.prompts.templates import Template
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
# The rows whose columns templates may name.
FIRST_ROWS = 100


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
    config: dict[str, Any] = {"name": "check", "task": str(folder.resolve())}
    if (folder / "rationale.j2").exists():
        config["teacher"] = "embedded"
    if (folder / "answer.j2").exists():
        config["students"] = ["embedded"]
    if (folder / "verdict.j2").exists():
        config["judge"] = {"model": "embedded"}
    has_rows = "dataset" in decided or "data" in decided
    if not has_rows:
        config["dataset"] = NO_DATA
    experiment = make_experiment(str(folder / "task.yaml"), config, folder)
    splits = read_dataset(experiment) if has_rows else {TRAIN: [ROW], TEST: []}
    first_prompt = check_prompts(experiment, splits[TRAIN])
    _check_seeds(experiment, folder)
    counts = {split: _check_references(experiment, rows, folder) for split, rows in splits.items()}
    passages = experiment.passages if "passages" in decided else None
    known = {each.id for each in read_passages(passages)} if passages else set()
    if known:
        _check_oracles(splits, known, experiment)
    seeds = len(experiment.augment.seeds) + len(experiment.rationale.seeds)
    if not has_rows:
        counts[TRAIN] = 0
    return TaskSummary(folder.resolve().name, counts[TRAIN], counts[TEST], len(known), seeds, first_prompt)


def check_prompts(experiment: Experiment, rows: Iterable[Example]) -> str:
    """Render every template with the first row, with and without documentation, hint and worked examples.

    Columns that templates name must be in one of the first rows. Return the teacher's prompt, empty without
    one. Raise TaskFolderError.
    """
    if experiment.task is None:
        return ""
    prompts, wording = experiment.task.prompts, PromptRenderer(experiment.task)
    first_rows = list(islice(rows, FIRST_ROWS))
    if first_rows != [ROW]:
        columns = dict.fromkeys(name for row in first_rows for name in row.columns)
        for name, source in prompts.model_dump(exclude_defaults=True).items():
            Template(name, source, columns=columns)
    example = first_rows[0]
    request, reference, columns_of_row = example.request, example.reference, example.columns
    if prompts.augment:
        wording.augmentation(request, [])
        wording.augmentations([request], [])
    if prompts.verdict:
        wording.verdict(request, reference, reference, columns_of_row)
    if prompts.grow:
        wording.growth([(request, reference)], experiment.grow.requests)
    first_prompt = ""
    for shown in ((), (SAMPLE,)):
        worked = [Exemplar(request, reference, text, shown, columns_of_row) for text in ("", "Because.")]
        if prompts.answer:
            wording.student_prompt(request, shown, worked, columns_of_row)
        _check_training(wording, example, shown)
        for hint in (None, reference) if prompts.rationale else ():
            style = experiment.rationale.hint
            messages = wording.rationale(request, shown, worked, hint, style, columns_of_row)
            first_prompt = first_prompt or messages[-1].content
    return first_prompt


def _check_training(wording: PromptRenderer, example: Example, shown: Sequence[Passage]) -> None:
    if wording.folder.prompts.export:
        wording.training_prompt(example.request, shown, example.columns)
        wording.training_answer("Because.", example.reference, example.columns)


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
    dataset, rows_path = experiment.dataset, experiment.rows_path
    for split, rows in splits.items():
        for example in rows:
            for name in example.oracle:
                if name not in known:
                    where = Path(dataset.path) / getattr(dataset, split).file if dataset else rows_path
                    problem = f"{split} row {example.row + 1} names passage {name!r}, which is not there"
                    raise TaskFolderError(where, None, f"{problem}; mend its id, or add the passage")


def _completion(text: str) -> Completion:
    return Completion(text, "stop", Usage())
