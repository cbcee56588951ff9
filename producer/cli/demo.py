"""`starmill demo`: the paper's pipeline on a small model, which tells what it does and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import RenderableType

from models.core.experiment.endpoints import EMBEDDED_MODEL
from producer.cli import execution
from producer.cli.common import open_ledger
from producer.cli.execution import NoFlowerOption
from producer.experiments.load import load_experiment
from producer.feeding.interrupts import StopSignal
from producer.origin import RunSource
from producer.planning import find_or_plan
from producer.progress.status import Status
from producer.runs import finish
from producer.safe_console import console, messages
from storage.database import Database
from storage.ledger.counts import IN_FLIGHT
from storage.ledger.examples import examples
from storage.ledger.runs import Run
from storage.logs import configure_logging
from storage.schema import FINAL, FINISHED, SKIPPED, TEST, TRAIN
from storage.settings import load_settings

PRESET = "demo"
# The recording names rows and cells, not prompts. Passages come from a file of those that were found, so that
# neither an encoder nor the documentation of this Python is needed.
REPLAY = [
    "passages.source=jsonl",
    "passages.path=bundled:demo/passages.jsonl",
    "passages.method=bm25",
    *(
        f"{role}.{setting}"
        for role in ("teacher", "students.0")
        for setting in ("backend=replay", f"model={EMBEDDED_MODEL}", "recording=bundled:demo/recording.jsonl")
    ),
]
STAGES = {
    "retrieve": "for each request, the passage of Python's documentation that fits: models forget names",
    "rationale": "the teacher says which function answers each train request, and writes the code",
    "rationalize": "where the code is wrong, the teacher tries again with the right answer as a hint (STaR)",
    "answer": "the student answers each test request with and without examples, passages, rationales",
    "judge": "each answer is compared with the right one, and counted",
}
WIDTH = max(map(len, STAGES))


def demo(
    replayed: Annotated[
        bool, typer.Option("--replay", help="answer from a shipped recording: no model, half a minute")
    ] = False,
    no_flower: NoFlowerOption = False,
) -> None:
    """Run the preset `demo` here and tell what is done and why, like `starmill run demo --local`."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    overrides = REPLAY if replayed else []
    tell = messages().print
    with StopSignal() as stop, open_ledger(settings) as db:
        loaded = load_experiment(PRESET, overrides)
        source = RunSource.of_experiment(PRESET, overrides, local=True)
        run = find_or_plan(db, loaded, settings, True, tell, source=source)
        for line in _beginning(db, run, replayed):
            tell(line)
        story = Story()
        options = replace(execution.run_options(True, False, no_flower, settings), on_progress=story.show)
        if run.state == FINISHED:
            tell(f"run {run.id} is finished; another STARMILL_HOME runs it again")
        status = finish(db, run, settings, options, stop)
        story.show(status, tell)
        execution.exit_unless_ended(status, options)
        for each in _end(db, status.run):
            console().print(each, soft_wrap=isinstance(each, str))
        execution.exit_on_failures(status)


class Story:
    """Tells a line on each stage when it begins, in the order in which a row goes through them."""

    def __init__(self) -> None:
        self._left = list(STAGES)

    def show(self, status: Status, tell: Callable[[str], None]) -> None:
        while self._left and _has_begun(status, stage := self._left[0]):
            if stage == "answer":
                tries = status.stages["rationalize"]
                tell(f"{'':<{WIDTH}}  {tries[SKIPPED]} of {tries.total()} were right at the first try")
            tell(f"{stage:<{WIDTH}}  {STAGES[stage]}")
            del self._left[0]


def _has_begun(status: Status, stage: str) -> bool:
    """Return whether the stage has begun. Some answers need no rationale, but are told of after all."""
    if stage == "answer":
        tries = status.stages["rationalize"]
        return sum(tries[state] for state in FINAL) == tries.total()
    return any(status.stages[stage][state] for state in (IN_FLIGHT, *FINAL))


def _beginning(db: Database, run: Run, replayed: bool) -> Iterator[str]:
    requests = {split: [each.request for each in examples(db, run.id, split)] for split in (TRAIN, TEST)}
    yield "The demo makes a synthetic dataset of a few requests and measures what it is worth to a student."
    yield (
        f"Requests: {len(requests[TRAIN])} to learn from and {len(requests[TEST])} to be tested with, such "
        f'as "{requests[TRAIN][0]}"; the right answer of each is one line of Python.'
    )
    if replayed:
        yield "Models: none. The answers were recorded; queue, workers, ledger and tables are real."
    else:
        yield "Models: SmolLM2 (135 million parameters) is teacher and student, on this machine's processors."


def _end(db: Database, run: Run) -> Iterator[RenderableType]:
    # With numpy, which a run need not wait for.
    from producer.results.report.build import build_report
    from producer.results.report.terminal import ablation_table
    from producer.results.telling_rows import telling_rows

    rows = telling_rows(db, run)
    for row in rows:
        yield ""
        yield f"{row.request} ({row.question_id})"
        yield f"  wrong:    {row.before}"
        yield f"  {row.helped + ':':<9} {row.shown}"
        yield f"  right:    {row.after}"
    yield ""
    yield ablation_table(build_report(db, run, brief=True))
    yield ""
    yield f"Open demo.html in a browser: `starmill report {run.id} --format html -o demo.html` writes it."
    if rows:
        yield f"See all that was asked about a row: `starmill show {run.id} {rows[0].question_id}`"
    yield f"Take the dataset with you: `starmill export {run.id} --only accepted -o synthetic.jsonl`"
    yield (
        "Ask about rows of your own: `starmill generate rows.csv --prompt 'Explain: {{ question }}' "
        "--model gpt-5-mini -o out.jsonl`"
    )
