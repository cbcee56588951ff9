"""The difference of two runs as tables, and as JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from models.core.pipeline.stages import STAGES
from models.core.types import JSON
from producer.results.diff import CellChange, Flip, RunDiff
from producer.results.report.samples import printable
from producer.results.row_verdicts import CellVerdicts
from storage.ledger.counts import Spending

NOTE = (
    "p: McNemar's exact test (with several seeds approximate randomization); BLEU-4: paired bootstrap, "
    "95 % interval. p is of a single test: of many tests, some have a small p by chance."
)
MAX_LENGTH = 60
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
    headings = ("cell", "n", "right A %", "right B %", "lost", "gained", "p", "BLEU-4 B - A", "p")
    yield _table("Right, row by row", headings, map(_change, diff.cells))
    for name, cells in (("A", diff.only_first), ("B", diff.only_second)):
        if cells:
            yield Text(f"only in {name}: {', '.join(map(cell_name, cells))}")
    yield Text(NOTE)
    for change in diff.cells:
        yield from _examples(change)
    yield Text()
    headings = ("stage", "calls A", "B", "tokens A", "B", "$ A", "B", "bought $ A", "B")
    yield _table("Answers that the runs rest on, and the share that they bought", headings, _spending(diff))


def diff_document(diff: RunDiff) -> JSON:
    return {
        "first": diff.first.id,
        "second": diff.second.id,
        "same_data": diff.same_data,
        "configuration": {key: list(values) for key, values in diff.configuration.items()},
        "cells": [asdict(change) | {"cell": change.cell._asdict()} for change in diff.cells],
        "only_first": [cell._asdict() for cell in diff.only_first],
        "only_second": [cell._asdict() for cell in diff.only_second],
        "spending": {
            side: {"answers": _sums(answers), "bought": _sums(bought)}
            for side, answers, bought in zip(("first", "second"), diff.answers, diff.bought, strict=True)
        },
    }


def cell_name(cell: CellVerdicts) -> str:
    return f"{cell.stage} {cell.variant}"


def _change(change: CellChange) -> tuple[str, ...]:
    bleu = change.bleu4
    difference = ("-", "-")
    if bleu:
        difference = (f"{bleu.difference:+.2f} [{bleu.low:+.2f}, {bleu.high:+.2f}]", _p(bleu.p_value))
    return (
        cell_name(change.cell), f"{change.n:,}", f"{change.before:.1f}", f"{change.after:.1f}",
        f"{change.lost:,}", f"{change.gained:,}", _p(change.p_value), *difference,
    )  # fmt: skip


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
    for stage in STAGES:
        worth = [side.get(stage, nothing) for side in diff.answers]
        paid = [side.get(stage, nothing) for side in diff.bought]
        if any(each.calls for each in (*worth, *paid)):
            yield (
                stage, *(f"{each.calls:,}" for each in worth),
                *(f"{each.usage.prompt + each.usage.completion:,}" for each in worth),
                *(f"{each.dollars:.4f}" for each in worth), *(f"{each.dollars:.4f}" for each in paid),
            )  # fmt: skip


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


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _value(value: Any) -> str:
    return _start(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _end(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= MAX_LENGTH else "..." + line[3 - MAX_LENGTH :]


def _start(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 3] + "..."
