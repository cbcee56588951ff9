"""The dataset card of a Hugging Face folder: what the rows are, how they came about, what they lack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import yaml

from models.experiment import Rationale
from models.quality import FILTERS
from producer.documents.attribution import Attribution
from producer.export.selection import Selection
from storage.ledger.planning import Run
from storage.schema import FINISHED

WHAT = {
    "synthetic": "Requests for code with an augmentation, retrieved documentation and a step-by-step "
    "rationale that ends in code, written by a teacher model.",
    "answers": "Answers of the students under test, in each cell of an ablation grid.",
    "failures": "Units of the run that failed, with every answer that was rejected.",
}
CORRECT = {
    "paper": "less trailing full stops, colons and backquotes it ends with the reference code",
    "strict": 'what follows its last "the answer is" equals the reference code',
    "tree": 'what follows its last "the answer is" equals the reference code, or has the same syntax tree',
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(
    run: Run,
    selection: Selection,
    count: int,
    groups: Mapping[str, int],
    documentation: Sequence[Attribution] = (),
) -> str:
    """README.md of the folder. `groups` counts the rows by source, variant or stage; `documentation` is what
    passages in the rows were taken from."""
    experiment = run.experiment
    header = {
        "pretty_name": f"{run.name} ({selection.what})",
        "task_categories": ["text-generation"],
        "tags": ["code", "synthetic", "starmill"],
        "size_categories": [next((name for most, name in SIZES if count < most), "n>1M")],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
        ],
    }
    teacher = experiment.teacher
    params = json.dumps({**teacher.params, **experiment.rationale.params}, sort_keys=True)
    counts = [f"- {name}: {number:,}" for name, number in sorted(groups.items())]
    lines = [
        f"# {run.name}: {selection.what}",
        WHAT[selection.what],
        "## Counts",
        "\n".join([f"- rows: {count:,}", *counts, *_left_out(selection)]),
        "## How it was made",
        "\n".join([
            f"- run: {run.id} of experiment {run.name}, made with Starmill",
            f"- teacher: `{teacher.model_name}`, parameters of rationales `{params}`",
            *(f"- student: {student.name}, `{student.model_name}`" for student in experiment.students),
            f"- documentation: {experiment.passages.source}, top {experiment.passages.top_k} by "
            f"`{experiment.passages.encoder}`",
            f"- a rationale counts as correct where {CORRECT[experiment.rationale.correctness]}",
            *_options(experiment.rationale),
            f"- wrong rationales were tried again with the answer as a hint, {experiment.rationale.passes} "
            "times at most; the hint is not part of the data",
        ]),
        "## Known flaws",
        "\n".join(f"- {flaw}" for flaw in _flaws(run, selection)),
        *_notices(documentation),
    ]  # fmt: skip
    body = "\n\n".join(lines)
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n{body}\n"


def _notices(documentation: Sequence[Attribution]) -> list[str]:
    if not documentation:
        return []
    return ["## Documentation", "Passages were taken from:", "\n".join(f"- {said}" for said in documentation)]


def _left_out(selection: Selection) -> list[str]:
    if not selection.left_out.counts:
        return []
    marked = selection.left_out.counts
    said = [
        f"    - {name}: {marked[name]:,} (a row that {FILTERS[name]})" for name in FILTERS if name in marked
    ]
    return [
        f"- left out by filters, which may mark a row more than once: {len(selection.left_out.units):,}",
        *said,
    ]


def _options(rationale: Rationale) -> list[str]:
    said = []
    if (samples := rationale.samples) > 1:
        said.append(f"- the first rationale of a request is that of {samples} whose code most agree on")
    if (rounds := rationale.rounds) > 1:
        said.append(
            f"- requests were reasoned about in {rounds} rounds, each shown right rationales of the one "
            "before; the latest right one counts"
        )
    if (most := rationale.stop_at) > 1:
        said.append(f"- each right rationale of a request is a row of its own, {most} at most")
    return said


def _flaws(run: Run, selection: Selection) -> list[str]:
    flaws = ["All text but request and reference was written by models; the code was not executed."]
    if run.state != FINISHED:
        flaws.insert(0, f"The run was {run.state} when this was exported: rows are missing.")
    if selection.what == "synthetic":
        flaws += [
            "Correct speaks of the final code: the steps before it were not checked.",
            "A right rationale of source `star` was written by a model that had been shown the answer.",
        ]
        if not selection.accepted:
            flaws += [
                "Rows of source `wrong` are included; `correct` tells them apart.",
                "Rationales that mention their hint count as wrong, with `hint_leak` true.",
            ]
    return flaws
