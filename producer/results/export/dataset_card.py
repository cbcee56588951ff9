"""The dataset card of a Hugging Face folder: contents, origin and flaws of its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from models.core.experiment.data_source import HUB
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import Rationale
from models.core.experiment.quality_filters import FILTERS
from models.core.types import JSON
from producer.corpus.attribution import Attribution
from producer.results.export.columns import Tally, prompt_text, starmill_version
from producer.results.export.selection import RowSelection
from producer.results.export.splits import Layout
from storage.ledger.runs import Run
from storage.schema import FINISHED

WHAT = {
    "synthetic": "Requests with {parts} that ends in an answer, written by a teacher model.",
    "answers": "Answers of the students under test, in each cell of an ablation grid.",
    "rows": "Rows of data with a column for each step of a pipeline, most of them written by models.",
    "pairs": "A prompt with a chosen and a rejected answer of a model, for preference training.",
    "failures": "Units of the run that failed, with every answer that was rejected.",
}
CORRECT = {
    "paper": "less trailing full stops, colons and backquotes it ends with the reference",
    "strict": 'what follows its last "the answer is" equals the reference',
    "tree": 'what follows its last "the answer is" equals the reference, or has the same syntax tree',
    "shell": 'what follows its last "the answer is" is the command of the reference, quotes, white space and '
    "the form of flags aside",
    "text": 'what follows its last "the answer is" is the reference, case, punctuation and articles aside',
    "number": 'what follows its last "the answer is" holds the same number as the reference',
    "module": "the `task.py` of its task folder says so",
    "model": "its answer is the reference, case, punctuation and articles aside, or a judge model says so",
    "execution": "its code passes the tests of its row, or, where there are none, has the reference's tree",
}
ACCEPTED = {
    "synthetic": "- rationales that are not correct",
    "rows": "- rows of which a step failed, or that the last verdict does not accept",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
MAX_PROMPT = 4000


@dataclass(frozen=True, slots=True)
class Card:
    """The parts of a card. `documentation` names the sources of passages in the rows; `request` is that of
    the first row."""

    run: Run
    selection: RowSelection
    layout: Layout
    tally: Tally
    documentation: Sequence[Attribution] = ()
    request: JSON | None = None

    def text(self) -> str:
        """Return README.md of the folder."""
        sections = {
            "": [WHAT[self.selection.what].format(parts=self._parts())],
            "Counts": self._counts(),
            "Source": self._source(),
            "How it was made": self._making(),
            "What was left out": self._left_out(),
            "Cost": [f"- of these rows: ${self.tally.cost_usd:,.6f}"] if self.tally.cost_usd else [],
            "Prompt": self._prompt(),
            "Licence": self._licence(),
            "Known flaws": [f"- {flaw}" for flaw in _flaws(self.run, self.selection)],
            "Documentation": _notices(self.documentation),
        }
        parts = [f"# {self.run.name}: {self.selection.what}"]
        for heading, lines in sections.items():
            if lines:
                parts += [*([f"## {heading}"] if heading else []), "\n".join(lines)]
        body = "\n\n".join(parts)
        header = yaml.safe_dump(self._header(), sort_keys=False, allow_unicode=True)
        return f"---\n{header}---\n\n{body}\n"

    def _parts(self) -> str:
        """Name what a row of the synthetic set holds beside its request."""
        experiment, parts = self.run.experiment, ["a step-by-step rationale"]
        if experiment.passages:
            parts.insert(0, "retrieved documentation")
        if experiment.augment.enabled:
            parts.insert(0, "an augmentation")
        return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))

    def _header(self) -> JSON:
        count = self.tally.total
        names = list(self.layout.splits) or ["train"]
        return {
            "pretty_name": f"{self.run.name} ({self.selection.what})",
            "task_categories": ["text-generation"],
            "tags": ["synthetic", "starmill", *([task.name] if (task := self.run.experiment.task) else [])],
            "size_categories": [next((name for limit, name in SIZES if count < limit), "n>1M")],
            "configs": [
                {
                    "config_name": "default",
                    "data_files": [{"split": name, "path": f"data/{name}-*.parquet"} for name in names],
                }
            ],
        }

    def _counts(self) -> list[str]:
        counts = [f"- rows: {self.tally.total:,}"]
        if self.layout.splits:
            counts += [f"- in split {name}: {self.tally.splits[name]:,}" for name in self.layout.splits]
        return counts + [f"- {name}: {number:,}" for name, number in sorted(self.tally.groups.items())]

    def _source(self) -> list[str]:
        lines = [self._rows_source()]
        if passages := self.run.experiment.passages:
            corpus = Path(passages.path).name if passages.path else ", ".join(passages.packages)
            how = f"top {passages.top_k} by `{passages.encoder}`"
            lines.append(f"- documentation: {passages.source} (`{corpus}`), {how}")
        return lines

    def _rows_source(self) -> str:
        data, dataset = self.run.experiment.data, self.run.experiment.dataset
        if data:
            return f"- rows: `{data.path if data.path.startswith(HUB) else Path(data.path).name}`"
        assert dataset
        files = {"train": dataset.train.file, "test": dataset.test.file if dataset.test else ""}
        named = files["test" if self.selection.what == "answers" else "train"]
        if self.selection.what == "failures":
            named = ", ".join(filter(None, files.values()))
        return f"- requests and references: `{named}` in `{Path(dataset.path).name}` ({dataset.loader})"

    def _making(self) -> list[str]:
        experiment, run = self.run.experiment, self.run
        teacher, judge = experiment.teacher, experiment.judge.model
        passages = " passages," if experiment.passages else ""
        lines = [
            f"- run: {run.id} of experiment {run.name}, made with Starmill {starmill_version()}",
            *([f"- task folder: `{experiment.task.name}`"] if experiment.task else []),
        ]
        if experiment.steps:
            lines += [_step_line(experiment, name) for name in experiment.steps]
            return lines
        if teacher:
            params = json.dumps({**teacher.params, **experiment.rationale.params}, sort_keys=True)
            lines.append(f"- teacher: `{teacher.model_name}`, parameters of rationales `{params}`")
        lines += [f"- student: {student.name}, `{student.model_name}`" for student in experiment.students]
        if teacher:
            rule = CORRECT[experiment.rationale.correctness]
            lines.append(f"- a rationale counts as correct where {rule}")
        if experiment.asks_judge and judge:
            lines.append(f"- judge: `{judge.model_name}`")
        if teacher:
            lines += _options(experiment.rationale)
        return [
            *lines,
            f"- `provenance` of a row names unit, calls, prompt,{passages} rule, cost and version",
        ]

    def _left_out(self) -> list[str]:
        lines = []
        if self.selection.what == "synthetic":
            lines.append("- examples without any rationale: those failed, or are not done")
        if self.selection.what == "pairs":
            lines.append("- rows without both a good and a bad answer")
        if self.selection.accepted:
            leaks = self.selection.what == "synthetic" and self.run.experiment.rationale.hint_leaks == "wrong"
            lines.append(ACCEPTED[self.selection.what] + ", and those that mention their hint" * leaks)
        if self.layout.shuffle is not None:
            lines.append(f"- the order of the dataset: rows are shuffled with seed {self.layout.shuffle}")
        if self.layout.splits:
            shares = ", ".join(f"{name} {share:g}" for name, share in self.layout.splits.items())
            lines.append(
                f"- of each split the questions of the others: {shares}, seed {self.layout.split_seed}"
            )
        return lines + _filtered(self.selection)

    def _prompt(self) -> list[str]:
        """Show the prompt of the first row; other rows have other texts and seeds."""
        if not self.request:
            return []
        prompt = prompt_text(self.request)
        shown = prompt if len(prompt) <= MAX_PROMPT else f"{prompt[:MAX_PROMPT]}\n..."
        # No text of a row may end the block.
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
        return ["What was asked for the first row:", "", f"{fence}text", shown, fence]

    def _licence(self) -> list[str]:
        return [
            "None is set here. Requests and references have the licence of their source; texts of models "
            "are bound by the terms of their providers"
            + ("; passages by the notices below." if self.documentation else ".")
        ]


def _step_line(experiment: Experiment, name: str) -> str:
    step = experiment.steps[name]
    asks = f", asks `{experiment.model(step.asks).model_name}`" if step.asks else ""
    return f"- step `{name}`: {step.kind}{asks}"


def _notices(documentation: Sequence[Attribution]) -> list[str]:
    if not documentation:
        return []
    return ["Passages were taken from:", "", *(f"- {attribution}" for attribution in documentation)]


def _filtered(selection: RowSelection) -> list[str]:
    if not selection.left_out.counts:
        return []
    marked = selection.left_out.counts
    return [
        f"- rows that filters marked, which may mark a row more than once: {len(selection.left_out.units):,}",
        *(
            f"    - {name}: {marked[name]:,} (a row that {FILTERS[name]})"
            for name in FILTERS
            if name in marked
        ),
    ]


def _options(rationale: Rationale) -> list[str]:
    lines = []
    if (samples := rationale.samples) > 1:
        lines.append(f"- the first rationale of a request is that of {samples} whose answer most agree on")
    if (rounds := rationale.rounds) > 1:
        lines.append(
            f"- requests were reasoned about in {rounds} rounds, each shown right rationales of the one "
            "before; the latest right one counts"
        )
    if (limit := rationale.stop_at) > 1:
        lines.append(f"- each right rationale of a request is a row of its own, {limit} at most")
    if passes := rationale.passes:
        again = f"- wrong rationales were tried again with the answer as a hint, {passes} times at most"
        lines.append(f"{again}; the hint is not part of the data")
    return lines


def _flaws(run: Run, selection: RowSelection) -> list[str]:
    executed = run.experiment.rationale.correctness == "execution"
    flaws = [
        "Columns of steps may be written by models, and models err."
        if run.experiment.steps
        else "All text but request and reference was written by models"
        + ("." if executed else "; nothing of it was executed.")
    ]
    if run.state != FINISHED:
        flaws.insert(0, f"The run was {run.state} when this was exported: rows are missing.")
    if selection.what == "synthetic" or (selection.what == "pairs" and not run.experiment.steps):
        flaws += [
            "Correct speaks of the final answer: the steps before it were not checked.",
            "A right rationale of source `star` was written by a model that had been shown the answer.",
        ]
        if run.experiment.rationale.correctness == "model":
            flaws.append("A model judged what is correct, and models err.")
        if not selection.accepted and selection.what == "synthetic":
            flaws.append("Rows of source `wrong` are included; `correct` tells them apart.")
        if run.experiment.rationale.hint_leaks == "judged":
            flaws.append(
                "Rationales may mention their hint, and be right all the same; `hint_leak` is then true."
            )
        elif not selection.accepted and selection.what == "synthetic":
            flaws.append("Rationales that mention their hint count as wrong, with `hint_leak` true.")
    return flaws
