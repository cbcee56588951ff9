"""Which commands there are."""

from __future__ import annotations

import typer

from producer.cli import (
    audit,
    data,
    doctor,
    experiments,
    export,
    failures,
    index,
    report,
    run,
    runs,
    score,
    status,
    steering,
    task,
)

app = typer.Typer(
    name="starmill",
    help="Mills small human seeds into large synthetic reasoning datasets, and measures what they are worth.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    run.run, steering.pause, steering.resume, status.status, report.report, export.export,
    score.score, audit.audit, failures.failures, failures.retry, runs.runs, doctor.doctor,
    experiments.experiments,
):  # fmt: skip
    app.command()(command)
app.add_typer(index.app, name="index")
app.add_typer(data.app, name="data")
app.add_typer(task.app, name="task")
