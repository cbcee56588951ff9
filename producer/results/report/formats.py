"""The formats of a report: each renderer turns a Report into the whole text of a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.core.display import visible, visible_json
from producer.results.report import latex, markdown
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.cost_sections import costs_document
from producer.results.report.effect_values import (
    against_columns,
    against_values,
    contrast_document,
    difference_columns,
    difference_lines,
    effect_document,
)
from producer.results.report.findings import findings
from producer.results.report.groups import GroupTable, ValueTally
from producer.results.report.html import page
from producer.results.report.measures import Execution, RetrievalQuality
from producer.results.report.provenance import csv_values
from producer.results.report.score_columns import measure_with_failed
from producer.results.report.step_report import StepReport, StepSummary
from producer.results.report.table_parts import DECIMALS, rounded

CELL_COLUMNS = (
    "run", "kind", "student", "variant", "shots", "retrieval", "rationale", "augment_test", "exemplars",
    "wrong_rationales", "augment_exemplars", "train_rows", "seeds", "n", "planned", "rows", "questions",
    "failed", "truncated", "unparsable",
)  # fmt: skip
# Only lines of contrasts have this.
CONTRAST_COLUMNS = ("against",)
# Only lines of groups have these.
GROUP_COLUMNS = ("by", "value", "measure", "mean", "low", "high")
# The ends of the columns of a score.
MEASURE = ("", "_low", "_high", "_sd")
WITH_FAILED = ("_with_failed", "_with_failed_low", "_with_failed_high")


def render_json(report: Report) -> str:
    """Return one JSON object. Scores are in percent; a cell without an answer has empty `scores`."""
    document = {
        "run": report.run,
        "experiment": report.experiment,
        "state": report.state,
        "teacher": report.teacher,
        "students": report.students,
        "seeds": list(report.seeds),
        "statistics": asdict(report.statistics),
        "stages": [{**asdict(stage), "left": stage.left} for stage in report.stages],
        "ablation": [_cell(row) for row in report.table],
        "contrasts": [contrast_document(effect) for effect in report.axis_effects],
        "effects": [effect_document(effect) for effect in report.effects],
        "retrieval": [_quality(quality) for quality in report.retrieval],
        "execution": _execution(report.execution) if report.execution else None,
        "failure_modes": [asdict(stage) for stage in report.failing],
        "spending": [asdict(stage) for stage in report.spending],
        "possible_usd": report.possible_usd,
        "unpriced_models": list(report.unpriced),
        "notes": list(report.notes),
        "findings": list(findings(report)),
        "models": report.models,
        **(_rows(report.step_report, report.unpriced) if report.step_report else {}),
        "by": [_groups(table) for table in report.groups],
        "provenance": report.provenance.document(),
        "agreement": asdict(report.agreement),
        "cell_costs": costs_document(report),
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _cell(row: TableRow) -> dict[str, Any]:
    cell = asdict(row.cell)
    del cell["exemplars_vary"], cell["wrong_vary"], cell["augment_exemplars_vary"]
    return {
        "variant": row.cell.name,
        **cell,
        "retrieval": row.cell.retrieval_word,
        "n": row.n,
        "planned": row.planned,
        "rows": row.rows,
        "questions": row.questions,
        "scores": {name: rounded(asdict(measure)) for name, measure in row.measures.items()},
        "answers_failed": row.failed,
        "scores_with_failed": {name: rounded(asdict(measure)) for name, measure in row.with_failed.items()},
        "best": list(row.best),
        "exemplars_shown": round(row.shown, DECIMALS),
        "answers_with_fewer_exemplars": row.fewer,
        "answers_shortened": row.shortened,
        "dropped": {"passages": row.dropped[0], "exemplars": row.dropped[1]},
        "answers_truncated": row.truncated,
        "answers_unparsable": row.unparsable,
    }


def _rows(results: StepReport, unpriced: Sequence[str]) -> dict[str, Any]:
    """Describe the rows and the steps of a pipeline of steps. Shares and their intervals are in percent."""
    counted = ("done", "failed", "accepted")
    return {
        "rows": {"total": results.rows, **{name: getattr(results, name) for name in counted}},
        "steps": [_step(step, unpriced) for step in results.steps],
    }


def _step(step: StepSummary, unpriced: Sequence[str]) -> dict[str, Any]:
    """Describe a step. Its cost is None if nobody knows the price of its model."""
    counted = ("name", "kind", "planned", "done", "skipped", "failed", "left")
    spent = step.spent
    return {
        **{name: getattr(step, name) for name in counted},
        "calls": spent.calls,
        "prompt_tokens": spent.usage.prompt,
        "completion_tokens": spent.usage.completion,
        "cost_usd": None if not spent.cost_nano_usd and step.asks in unpriced else spent.dollars,
        "rejected": dict(step.rejected),
        "measures": {name: _tally(tally) for name, tally in step.measures.items()},
    }


def _tally(tally: ValueTally) -> dict[str, Any]:
    low, high = tally.interval or (None, None)
    values = {f"{value:g}": number for value, number in sorted(tally.values.items())}
    return {
        "n": tally.n, "value": tally.mean, "low": low, "high": high,
        **({} if tally.is_share else {"distribution": values}),
    }  # fmt: skip


def _groups(table: GroupTable) -> dict[str, Any]:
    groups = [
        {"value": group.value, "rows": group.rows,
         "measures": {name: _tally(tally) for name, tally in group.measures.items()}}
        for group in table.groups
    ]  # fmt: skip
    return {"column": table.column, "split": table.of or None, "groups": groups}


def _quality(quality: RetrievalQuality) -> dict[str, Any]:
    """Describe retrieval; precision and miss rate are in percent, precision is null if nothing is shown."""
    derived = {"precision": quality.precision, "miss_rate": quality.miss_rate}
    return {**asdict(quality), **rounded({"tokens": quality.tokens, **derived})}


def _execution(execution: Execution) -> dict[str, Any]:
    cells = [
        {
            "variant": cell.variant,
            "n": cell.n,
            "outcomes": cell.outcomes,
            **{
                f"pass@{k}": {"value": measure.value, "low": measure.low, "high": measure.high}
                for k, measure in cell.pass_at.items()
            },
            "with_failed": {
                f"pass@{k}": {"value": measure.value, "low": measure.low, "high": measure.high}
                for k, measure in cell.with_failed.items()
            },
        }
        for cell in execution.cells
    ]
    return {**asdict(execution), "ceiling": round(execution.ceiling, DECIMALS), "cells": cells}


def render_csv(report: Report) -> str:
    """Return the ablation table as CSV, or the steps: a line for each, a column for each number."""
    text = io.StringIO()
    writer, origin = csv.writer(text, lineterminator="\n"), csv_values(report.provenance)
    if report.step_report:
        steps = [_flat_step(report, step) | origin for step in report.step_report.steps]
        steps += [line | origin for line in _group_lines(report)]
        names = list(dict.fromkeys(name for step in steps for name in step))
        writer.writerow(names)
        writer.writerows([step.get(name, "") for name in names] for step in steps)
        return text.getvalue()
    scores = [f"{name}{part}" for name in report.metrics for part in (*MEASURE, *WITH_FAILED)]
    of_cells = [*CELL_COLUMNS, *scores, *against_columns([*report.compared])]
    groups = [*_group_lines(report)]
    of_groups = GROUP_COLUMNS if groups else ()
    columns = [*of_cells, *CONTRAST_COLUMNS, *difference_columns([*report.compared]), *of_groups, *origin]
    rows = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    rows.writeheader()
    cells = (dict(zip(of_cells, _line(report, row), strict=True)) for row in report.table)
    rows.writerows(line | origin for line in cells)
    rows.writerows({"run": report.run, **line, **origin} for line in difference_lines(report))
    rows.writerows(line | origin for line in groups)
    return text.getvalue()


def _group_lines(report: Report) -> Iterator[dict[str, Any]]:
    """Yield a line for each measure of each group of the tables by columns."""
    for table in report.groups:
        for group in table.groups:
            line = {"run": report.run, "kind": "group", "by": table.column, "value": group.value}
            for name, tally in group.measures.items():
                low, high = tally.interval or ("", "")
                measured = {"mean": "" if tally.mean is None else tally.mean, "low": low, "high": high}
                yield {**line, "rows": group.rows, "n": tally.n, "measure": name, **measured}


def _flat_step(report: Report, step: StepSummary) -> dict[str, Any]:
    flat = {"run": report.run, **_step(step, report.unpriced)}
    del flat["rejected"]
    if flat["cost_usd"] is None:
        flat["cost_usd"] = ""
    for name, measure in flat.pop("measures").items():
        parts = {"": measure["value"], "_low": measure["low"], "_high": measure["high"], "_n": measure["n"]}
        flat |= {f"{name}{end}": "" if part is None else part for end, part in parts.items()}
    return flat


def _line(report: Report, row: TableRow) -> list[str]:
    cell = row.cell
    scores: list[str] = []
    for name in report.metrics:
        measure, other = row.measures.get(name), measure_with_failed(row, name)
        parts = (measure.value, measure.low, measure.high, measure.sd) if measure else [None] * len(MEASURE)
        others = (other.value, other.low, other.high) if other else [None] * len(WITH_FAILED)
        scores += ["" if part is None else f"{part:.4f}" for part in (*parts, *others)]
    return [
        report.run, "cell", cell.student, cell.name, str(cell.shots), cell.retrieval_word, cell.rationale,
        str(cell.augment_test).lower(), cell.exemplars, str(cell.wrong_rationales).lower(),
        str(cell.augment_exemplars).lower(), str(cell.train_rows),
        str(len(report.seeds)), str(row.n), str(row.planned), str(row.rows), str(row.questions),
        str(row.failed), str(row.truncated), str(row.unparsable),
        *scores, *against_values(report, cell),
    ]  # fmt: skip


# What models and servers wrote may steer the terminal in which a report is read.
RENDERERS: Mapping[str, Callable[[Report], str]] = {
    "markdown": lambda report: visible(markdown.render_markdown(report)),
    "latex": lambda report: visible(latex.render_latex(report)),
    "csv": lambda report: visible(render_csv(report)),
    "json": lambda report: visible_json(render_json(report)),
    "html": lambda report: visible(page.render_html(report)),
}
