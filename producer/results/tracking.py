"""A tracker of experiments gets the settings, tables and cost of a run at its end.

Weights & Biases and Trackio have the same functions, and know server, key and folder by their own variables.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from producer.progress.status import Status, read_status
from producer.results.report.build import Report, build_report
from producer.results.report.sections import report_sections
from storage.database import Database
from storage.ledger.runs import Run

log = logging.getLogger(__name__)
# A process has one current run of a tracker, and may feed several.
_one_run = threading.Lock()
NAMES_AND_VALUES = ("name", "value")


def track_run(db: Database, run: Run, name: str) -> None:
    """Log a run that has ended. A failure is a line in the log: nothing of the run depends on it."""
    try:
        module = import_module(name)
        status = read_status(db, run, db.clock())
        report = None if run.experiment.grow.enabled else build_report(db, run)
        # Both print; the standard output belongs to the command.
        with _one_run, redirect_stdout(sys.stderr):
            config = run.experiment.model_dump(mode="json", exclude_defaults=True)
            module.init(project=run.name, name=run.id, config=config)
            tables = dict(_tables(module, report)) if report else {}
            module.log({**_numbers(status, report), **tables})
            module.finish()
    except ModuleNotFoundError:
        log.warning("run %s is not logged: %s is not installed: pip install %s", run.id, name, name)
    except Exception as error:  # noqa: BLE001 (a client of a server may raise anything)
        cause = next(iter(str(error).splitlines()), "")
        log.warning("run %s is not logged to %s: %s: %s", run.id, name, type(error).__name__, cause)


def _numbers(status: Status, report: Report | None) -> dict[str, float]:
    """Return counts, cost, and the scores of cells and steps; scores and shares are those of the report."""
    usage = status.spending.usage
    numbers: dict[str, float] = {
        "planned": status.run.planned, **status.units, "calls": status.spending.calls,
        "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
        "cost_usd": status.spending.dollars,
    }  # fmt: skip
    for row in report.table if report else ():
        numbers |= {f"{row.cell.name}/{name}": measure.value for name, measure in row.measures.items()}
    for step in report.step_report.steps if report and report.step_report else ():
        means = {f"{step.name}/{name}": tally.mean for name, tally in step.measures.items()}
        numbers |= {name: mean for name, mean in means.items() if mean is not None}
    return numbers


def _tables(module: Any, report: Report) -> Iterator[tuple[str, Any]]:
    for section in report_sections(report):
        if section.rows:
            columns = list(section.headings) if any(section.headings) else list(NAMES_AND_VALUES)
            texts = [[f"{each.text} {each.detail}".strip() for each in row] for row in section.rows]
            yield section.title, module.Table(columns=columns, data=texts)
