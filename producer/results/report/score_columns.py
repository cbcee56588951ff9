"""The columns of scores in the ablation table, made once for all formats."""

from __future__ import annotations

from dataclasses import dataclass

from producer.results.report.ablation_table import Measure, TableRow
from producer.results.report.build import Report
from producer.results.report.effects import decisive_metric

FAILED_AS_WRONG = "Failed as wrong"


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """A metric with its heading; a column `with_failed` answers counts those as wrong."""

    metric: str
    heading: str
    with_failed: bool = False

    def measure(self, row: TableRow) -> Measure | None:
        return measure_with_failed(row, self.metric) if self.with_failed else row.measures.get(self.metric)

    def is_best(self, row: TableRow) -> bool:
        return not self.with_failed and self.metric in row.best


def measure_with_failed(row: TableRow, metric: str) -> Measure | None:
    """Return the score that counts failed answers as wrong; without any it is the score itself."""
    return (row.with_failed if row.failed else row.measures).get(metric)


def score_columns(report: Report) -> list[ScoreColumn]:
    """Return a column for each score; if any answer failed, the decisive score has a second one."""
    columns, decisive = [], decisive_metric(report.metrics)
    for name, heading in report.metrics.items():
        columns.append(ScoreColumn(name, heading))
        if name == decisive and any(row.failed for row in report.table):
            columns.append(ScoreColumn(name, FAILED_AS_WRONG, with_failed=True))
    return columns
