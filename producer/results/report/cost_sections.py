"""The cost of cells against their scores: the cells that no other beats in both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.core.display import usd
from models.core.metrics.pareto import pareto_optimal
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.cell_costs import CellCost
from producer.results.report.effects import decisive_metric
from producer.results.report.table_parts import NOTHING, Section, Value, interval_text


@dataclass(frozen=True, slots=True)
class CostedCell:
    """A cell with a score, by which it is compared with others at its `price`: dollars of a thousand answers
    or, where a model has no price, tokens of an answer. None costs less than an `optimal` one and scores as
    much."""

    row: TableRow
    cost: CellCost
    price: float
    score: float
    optimal: bool


def costed_cells(report: Report) -> list[CostedCell]:
    """Return the cells that have a score in the decisive metric and a cost, in the order of the table."""
    metric = decisive_metric(report.metrics)
    by_name = {cost.variant: cost for cost in report.cell_costs}
    cells = [
        (row, by_name[row.cell.name], row.measures[metric].value)
        for row in report.table
        if metric in row.measures and row.cell.name in by_name
    ]
    in_dollars = has_prices(report)
    prices = [cost.usd_per_1000 if in_dollars else cost.tokens for _, cost, _ in cells]
    optimal = pareto_optimal([(price, round(cell[2], 2)) for cell, price in zip(cells, prices, strict=True)])
    return [
        CostedCell(row, cost, price, score, mark)
        for (row, cost, score), price, mark in zip(cells, prices, optimal, strict=True)
    ]


def has_prices(report: Report) -> bool:
    """True if every cell's answers cost dollars."""
    return all(cost.usd_per_1000 > 0 for cost in report.cell_costs)


def cost_against_score(report: Report) -> Section:
    metric = decisive_metric(report.metrics)
    cells = costed_cells(report)
    unit = "dollars" if has_prices(report) else "tokens, as not every model has a price"
    return Section(
        "Cost against score",
        ("Cell", report.metrics.get(metric, ""), "Prompt tokens", "Completion tokens", "Dollars of 1,000",
         "Teacher, once", "Optimal"),
        [_line(cell, metric, report) for cell in cells] if len(cells) > 1 else [],
        "Tokens are those of an answer, with the augmentation of its request, and dollars those of 1,000 "
        "answers. The teacher's rationales, of which the cell shows some, are paid once. No cell scores as "
        f"much as an optimal one and costs less, or more and costs no more, in {unit}.",
        (0, 6),
    )  # fmt: skip


def _line(cell: CostedCell, metric: str, report: Report) -> list[Value]:
    cost, measure = cell.cost, cell.row.measures[metric]
    student, rationale = cell.row.cell.student, cell.row.cell.rationale
    teacher_unpriced = any(name not in report.students for name in report.unpriced)
    return [
        Value(cost.variant, best=cell.optimal),
        Value(f"{measure.value:.2f}", interval_text(measure.low, measure.high)),
        Value(f"{cost.prompt_tokens:,.0f}"),
        Value(f"{cost.completion_tokens:,.0f}"),
        _dollars(cost.usd_per_1000, student in report.unpriced),
        Value(NOTHING) if rationale == "none" else _dollars(cost.teacher_usd, teacher_unpriced),
        Value("yes" if cell.optimal else NOTHING),
    ]


def _dollars(amount: float, unpriced: bool) -> Value:
    return Value("unknown" if unpriced and not amount else usd(round(amount * 1e9)))


def costs_document(report: Report) -> list[dict[str, Any]]:
    """Return the costs of all cells with a score; dollars are 0 where a model has no price."""
    return [{**asdict(cell.cost), "optimal": cell.optimal} for cell in costed_cells(report)]
