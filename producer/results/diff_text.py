"""The difference of two runs as tables, and as JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from models.core.pipeline.plan import stage_names
from models.core.types import JSON
from producer.progress.wait_lines import unpriced_models
from producer.results.diff import CellChange, Flip, RunDiff
from producer.results.differences import Difference
from producer.results.report.ablation_table import HEADINGS
from producer.results.report.contrast_sections import MAX_SHOWN, difference_columns, explanation
from producer.results.report.effect_values import differences_document
from producer.results.report.samples import printable
from producer.results.row_verdicts import CellVerdicts
from producer.results.step_diff import ChangedRow, StepChange
from producer.results.step_verdicts import RIGHT
from storage.ledger.counts import Spending
from storage.ledger.runs import Run
from storage.schema import DONE, FAILED, SKIPPED

STEP_NOTE = (
    "B - A is in percent points of what is right, in points of a score. A row with samples has their mean. "
    "p is of the exact sign test of rows that changed, McNemar's for right or wrong. "
)
COLUMNS = ("B - A", "95 % interval", "p", "least visible")
HEADINGS_OF_SCORES: Mapping[str, str] = dict(HEADINGS.items())
MAX_LENGTH = 60
# Cells, or measures of steps, whose changed rows are printed.
MAX_CHANGES = 3
SAME = "(the same)"


def diff_tables(diff: RunDiff) -> Iterator[RenderableType]:
    for name, run in (("A", diff.first), ("B", diff.second)):
        yield Text(f"{name}  {run.id} ({run.name}, {run.state})")
    yield Text()
    if not diff.configuration:
        yield Text("The configurations are the same.")
    else:
        yield _table("Configuration", ("key", "A", "B"), (
            (key, _value(first), _value(second)) for key, (first, second) in diff.configuration.items()
        ))  # fmt: skip
    yield Text()
    if not diff.same_data:
        yield Text(
            "The datasets differ: only rows that are equal in both, at the same position, are compared."
        )
    yield from (Text(f"Note: {warning}.") for warning in diff.warnings)
    if diff.units:
        yield from _steps(diff)
    else:
        yield from _cells(diff)
    yield Text()
    headings = ("stage", "calls A", "B", "tokens A", "B", "$ A", "B", "bought $ A", "B")
    yield _table("Answers that the runs rest on, and the share that they bought", headings, _spending(diff))


def _cells(diff: RunDiff) -> Iterator[RenderableType]:
    headings = ("cell", "n", "right A %", "right B %", "lost", "gained", *COLUMNS)
    yield _table("Right, row by row, and B less A", headings, map(_change, diff.cells))
    for name, cells in (("A", diff.only_first), ("B", diff.only_second)):
        if cells:
            yield Text(f"only in {name}: {', '.join(map(cell_name, cells))}")
    scores = [(change, name) for change in diff.cells for name in change.differences if name != RIGHT]
    if scores:
        yield Text()
        rows = (_score(change, name) for change, name in scores[:MAX_SHOWN])
        yield _table("Scores, B less A", ("cell", "score", "n", *COLUMNS), rows)
        if len(scores) > MAX_SHOWN:
            yield Text(f"{len(scores) - MAX_SHOWN:,} more are in --json.")
    if diff.cells:
        differences = [each for change in diff.cells for each in change.differences.values()]
        yield Text(f"Percent points. {explanation(differences, None, 'cells')}")
    changed = [change for change in diff.cells if change.lost_examples or change.gained_examples]
    changed.sort(key=lambda change: -(change.lost + change.gained))
    for change in changed[:MAX_CHANGES]:
        yield from _examples(change)
    yield from _unprinted(diff, "cells", len(changed) - MAX_CHANGES)


def _steps(diff: RunDiff) -> Iterator[RenderableType]:
    headings = ("step", "what", "n", "A", "B", "fell", "rose", *COLUMNS)
    yield _table("Verdicts and scores, row by row, and B less A", headings, map(_step_change, diff.steps))
    if diff.steps:
        yield Text(STEP_NOTE + explanation([change.difference for change in diff.steps], None, "steps"))
    changed = [change for change in diff.steps if change.fell_examples or change.rose_examples]
    changed.sort(key=lambda change: -(change.fell + change.rose))
    for change in changed[:MAX_CHANGES]:
        for what, rows in (("fell", change.fell_examples), ("rose", change.rose_examples)):
            if rows:
                yield Text()
                title = f"{change.step}, {change.measure}: {what}, {len(rows)} of {getattr(change, what):,}"
                yield _table(title, ("split", "row", "question", "A", "B"), map(_changed_row, rows))
    yield from _unprinted(diff, "verdicts and scores", len(changed) - MAX_CHANGES)
    yield Text()
    states = (DONE, SKIPPED, FAILED)
    yield _table("Units", ("step", *(word for state in states for word in (f"{state} A", "B"))), (
        (step, *(f"{side.get(step, {}).get(state, 0):,}" for state in states for side in diff.units))
        for step in _names(diff)
    ))  # fmt: skip


def _unprinted(diff: RunDiff, what: str, number: int) -> Iterator[RenderableType]:
    if number > 0:
        yield Text()
        command = f"starmill diff {diff.first.id} {diff.second.id} --json"
        yield Text(
            f"Rows of {number:,} more {what} changed. `{command}` has them; `starmill show RUN QUESTION` "
            "prints all of one."
        )


def _step_change(change: StepChange) -> tuple[str, ...]:
    means = (f"{100 * mean:.1f} %" if change.measure == RIGHT else f"{mean:.2f}"
             for mean in (change.before, change.after))  # fmt: skip
    return (change.step, change.measure, f"{change.n:,}", *means, f"{change.fell:,}", f"{change.rose:,}",
            *_columns(change.difference))  # fmt: skip


def _changed_row(row: ChangedRow) -> tuple[str, ...]:
    return (row.split, str(row.row), row.question_id, f"{row.before:g}", f"{row.after:g}")


def _names(diff: RunDiff) -> list[str]:
    """Return the stages or steps of both runs in their order."""
    return list(dict.fromkeys((*stage_names(diff.first.experiment), *stage_names(diff.second.experiment))))


def diff_document(diff: RunDiff) -> JSON:
    return {
        "first": diff.first.id,
        "second": diff.second.id,
        "same_data": diff.same_data,
        "configuration": {key: list(values) for key, values in diff.configuration.items()},
        "warnings": list(diff.warnings),
        "cells": [_cell_document(change) for change in diff.cells],
        "steps": [asdict(change) for change in diff.steps],
        "units": dict(zip(("first", "second"), map(_by_step, diff.units), strict=False)),
        "only_first": [cell._asdict() for cell in diff.only_first],
        "only_second": [cell._asdict() for cell in diff.only_second],
        "spending": {
            side: {"answers": _sums(answers), "bought": _sums(bought)}
            for side, answers, bought in zip(("first", "second"), diff.answers, diff.bought, strict=True)
        },
    }


def _cell_document(change: CellChange) -> JSON:
    differences = differences_document(change.differences)
    bleu = change.differences.get("bleu4")
    return asdict(change) | {
        "cell": change.cell._asdict(),
        "p_value": change.differences[RIGHT].p_value,
        "differences": differences,
        "bleu4": asdict(bleu) | {"difference": bleu.value} if bleu else None,
    }


def _by_step(units: Mapping[str, Mapping[str, int]]) -> JSON:
    return {step: dict(states) for step, states in units.items()}


def cell_name(cell: CellVerdicts) -> str:
    return f"{cell.stage} {cell.variant}"


def _change(change: CellChange) -> tuple[str, ...]:
    return (
        cell_name(change.cell), f"{change.n:,}", f"{change.before:.1f}", f"{change.after:.1f}",
        f"{change.lost:,}", f"{change.gained:,}", *_columns(change.differences[RIGHT]),
    )  # fmt: skip


def _score(change: CellChange, name: str) -> tuple[str, ...]:
    values = _columns(change.differences[name])
    return (cell_name(change.cell), HEADINGS_OF_SCORES[name], f"{change.n:,}", *values)


def _columns(difference: Difference) -> tuple[str, ...]:
    """Return what stands in COLUMNS."""
    *values, _, visible = difference_columns(difference)
    return (*values, visible)


def _examples(change: CellChange) -> Iterator[RenderableType]:
    for what, flips in (("lost", change.lost_examples), ("gained", change.gained_examples)):
        if flips:
            yield Text()
            rows = (_flip(flip) for flip in flips)
            title = f"{cell_name(change.cell)}: {what}, {len(flips)} of {getattr(change, what):,}"
            yield _table(title, ("row", "question", "reference", "A", "B"), rows)


def _flip(flip: Flip) -> tuple[str, ...]:
    """Return the values of a flip. The end of a long answer is shown: a text concludes there."""
    after = SAME if flip.after == flip.before else _end(flip.after)
    return (str(flip.row), flip.question_id, _start(flip.reference), _end(flip.before), after)


def _spending(diff: RunDiff) -> Iterator[tuple[str, ...]]:
    nothing = Spending.nothing()
    for stage in _names(diff):
        worth = [side.get(stage, nothing) for side in diff.answers]
        paid = [side.get(stage, nothing) for side in diff.bought]
        if any(each.calls for each in (*worth, *paid)):
            yield (
                stage, *(f"{each.calls:,}" for each in worth),
                *(f"{each.usage.prompt + each.usage.completion:,}" for each in worth),
                *map(_dollars, (diff.first, diff.second) * 2, (*worth, *paid)),
            )  # fmt: skip


def _dollars(run: Run, spent: Spending) -> str:
    unknown = spent.calls and not spent.cost_nano_usd and unpriced_models(run.experiment)
    return "unknown" if unknown else f"{spent.dollars:.4f}"


def _sums(by_stage: Mapping[str, Spending]) -> JSON:
    return {
        stage: {
            "calls": spent.calls,
            "prompt_tokens": spent.usage.prompt,
            "completion_tokens": spent.usage.completion,
            "cost_usd": spent.dollars,
        }
        for stage, spent in by_stage.items()
    }


def _table(title: str, headings: Sequence[str], rows: Any) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _value(value: Any) -> str:
    return _start(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _end(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= MAX_LENGTH else "..." + line[3 - MAX_LENGTH :]


def _start(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 3] + "..."
