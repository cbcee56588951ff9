"""Which commands there are."""

from __future__ import annotations

import typer

from producer.cli import (
    audit,
    data,
    diff,
    doctor,
    experiments,
    export,
    failures,
    feed,
    grow,
    index,
    quality,
    report,
    run,
    runs,
    score,
    serve,
    show,
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
    run.run, feed.feed, steering.pause, steering.resume, status.status, report.report, export.export,
    show.show, diff.diff, quality.quality, score.score, audit.audit, failures.failures, failures.retry,
    runs.runs, doctor.doctor, experiments.experiments, serve.serve,
):  # fmt: skip
    app.command()(command)
data.app.command("quality")(quality.data_quality)
data.app.command("grow")(grow.grow)
app.add_typer(index.app, name="index")
app.add_typer(data.app, name="data")
app.add_typer(task.app, name="task")
