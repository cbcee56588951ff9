"""A comparison as tables, and as JSON values."""

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
    "95 % interval. Each is one test: of many, some are small by chance."
)
LONGEST = 60
SAME = "(the same)"


def diff_tables(found: RunDiff) -> Iterator[RenderableType]:
    for name, run in (("A", found.first), ("B", found.second)):
        yield Text(f"{name}  {run.id} ({run.name}, {run.state})")
    yield Text()
    if not found.configuration:
        yield Text("The configurations are the same.")
    else:
        yield _table("Configuration", ("key", "A", "B"), (
            (key, _value(first), _value(second)) for key, (first, second) in found.configuration.items()
        ))  # fmt: skip
    yield Text()
    if not found.same_data:
        yield Text("The datasets differ: only rows that stand in both at the same place are compared.")
    headings = ("cell", "n", "right A %", "right B %", "lost", "gained", "p", "BLEU-4 B - A", "p")
    yield _table("Right, row by row", headings, map(_change, found.cells))
    for name, cells in (("A", found.only_first), ("B", found.only_second)):
        if cells:
            yield Text(f"only in {name}: {', '.join(map(cell_name, cells))}")
    yield Text(NOTE)
    for change in found.cells:
        yield from _examples(change)
    yield Text()
    headings = ("stage", "calls A", "B", "tokens A", "B", "$ A", "B", "bought $ A", "B")
    yield _table("Answers that the runs rest on, and what they bought of them", headings, _spending(found))


def diff_document(found: RunDiff) -> JSON:
    return {
        "first": found.first.id,
        "second": found.second.id,
        "same_data": found.same_data,
        "configuration": {key: list(values) for key, values in found.configuration.items()},
        "cells": [asdict(change) | {"cell": change.cell._asdict()} for change in found.cells],
        "only_first": [cell._asdict() for cell in found.only_first],
        "only_second": [cell._asdict() for cell in found.only_second],
        "spending": {
            side: {"answers": _sums(found.answers[place]), "bought": _sums(found.bought[place])}
            for place, side in enumerate(("first", "second"))
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
    """Code, or a text that has none: what it comes to stands at its end."""
    after = SAME if flip.after == flip.before else _end(flip.after)
    return (str(flip.row), flip.question_id, _short(flip.reference), _end(flip.before), after)


def _spending(found: RunDiff) -> Iterator[tuple[str, ...]]:
    nothing = Spending.nothing()
    for stage in STAGES:
        worth = [side.get(stage, nothing) for side in found.answers]
        paid = [side.get(stage, nothing) for side in found.bought]
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
    return _short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _end(text: str) -> str:
    words = printable(" ".join(text.split()))
    return words if len(words) <= LONGEST else "..." + words[3 - LONGEST :]


def _short(text: str) -> str:
    words = printable(" ".join(text.split()))
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."
