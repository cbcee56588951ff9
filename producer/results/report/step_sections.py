"""The sections of a report on a pipeline of steps, and the tables by columns of the data."""

from __future__ import annotations

from collections.abc import Iterator

from models.core.display import usd
from producer.results.report.build import Report
from producer.results.report.groups import GroupTable, ValueTally
from producer.results.report.step_report import StepReport, StepSummary
from producer.results.report.table_parts import (
    NOTHING,
    Section,
    Value,
    counts_in_words,
    interval_text,
    section_of_texts,
    share,
)
from producer.results.step_verdicts import RIGHT

MAX_SHOWN_VALUES = 12


def row_counts(results: StepReport) -> list[tuple[str, str]]:
    open_rows = results.rows - results.done - results.failed
    return [
        ("Rows", f"{results.rows:,}"),
        ("Done", share(results.done, results.rows)),
        ("Failed", f"{results.failed:,}"),
        *([("Open", f"{open_rows:,}")] if open_rows else []),
        *([] if results.accepted is None else [("Accepted", share(results.accepted, results.rows))]),
    ]


def steps(report: Report) -> Section:
    results = report.step_report or StepReport()
    headings = ("Units", "Done", "Skipped", "Failed", "Left", "Calls", "Tokens", "Dollars")
    return section_of_texts(
        "Steps",
        ("Step", "Kind", *headings, "Answers not accepted"),
        ((step.name, step.kind, *_numbers(step, report), _rejected(step)) for step in results.steps),
        "Calls, tokens and dollars are of what this run bought itself. A step is skipped where its condition "
        "is false, or where a step failed that it reads.",
        (0, 1, 10),
    )


def _numbers(step: StepSummary, report: Report) -> Iterator[str]:
    for number in (step.planned, step.done, step.skipped, step.failed, step.left, step.spent.calls):
        yield f"{number:,}"
    yield f"{step.spent.usage.prompt + step.spent.usage.completion:,}"
    yield _dollars(step, report) if step.spent.calls else NOTHING


def _dollars(step: StepSummary, report: Report) -> str:
    known = usd(step.spent.cost_nano_usd).removeprefix("$")
    return known if step.spent.cost_nano_usd or step.asks not in report.unpriced else "unknown"


def _rejected(step: StepSummary) -> str:
    return counts_in_words(step.rejected) or NOTHING


def verdicts(report: Report) -> Section:
    results = report.step_report or StepReport()
    return Section(
        "Verdicts and scores",
        ("Step", "What", "n", "Value", "Distribution"),
        [
            [Value(step.name), Value(_word(step, name)), Value(f"{tally.n:,}"), _value(tally),
             Value(_distribution(tally))]
            for step in results.steps
            for name, tally in step.measures.items()
        ],
        "Shares have the 95 % interval of Wilson; scores and agreement are means. n counts results, "
        "each sample for itself.",
        (0, 1, 4),
    )  # fmt: skip


def _word(step: StepSummary, name: str) -> str:
    return step.word_for_right if name == RIGHT else name


def _value(tally: ValueTally | None) -> Value:
    if tally is None or tally.mean is None:
        return Value(NOTHING)
    if tally.interval:
        return Value(f"{tally.mean:.1f} %", interval_text(*tally.interval))
    return Value(f"{tally.mean:.2f}")


def _distribution(tally: ValueTally) -> str:
    if tally.is_share or len(tally.values) > MAX_SHOWN_VALUES:
        return NOTHING
    return ", ".join(f"{value:g}: {number:,}" for value, number in sorted(tally.values.items()))


def by_columns(report: Report) -> list[Section]:
    return [_by_column(table) for table in report.groups]


def _by_column(table: GroupTable) -> Section:
    rows = f", {table.of}" if table.of else ""
    return Section(
        f"By {table.column}{rows}",
        (table.column, "Rows", *table.names),
        [
            [Value(group.value), Value(f"{group.rows:,}"),
             *(_value(group.measures.get(name)) for name in table.names)]
            for group in table.groups
        ],
        "Shares of what is right have the 95 % interval of Wilson; other values are means.",
    )  # fmt: skip
