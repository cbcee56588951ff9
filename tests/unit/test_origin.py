"""The line that repeats a run can be typed, folds nowhere, tells no secret; without one a report says why."""

from __future__ import annotations

import inspect
import io
import shlex
from dataclasses import replace

from rich.console import Console

from models.core.metrics.paired_effects import paired_effects
from models.core.metrics.seed_scores import score_interval
from producer.origin import MAX_LINE, RunSource, versions
from producer.results.report.provenance import (
    FROM_PYTHON,
    REPEAT,
    RESAMPLING_SEED,
    UNKNOWN,
    Provenance,
    provenance_rows,
)
from producer.results.report.terminal import line_to_repeat, summary_tables
from tests.support.reports import report


def test_line_can_be_typed() -> None:
    overrides = ["grid={shots: [0, 2]}", "name=it's", "teacher=embedded"]
    source = RunSource.of_experiment("my folder/run.yaml", overrides, local=True)
    settings = [word for text in overrides for word in ("--set", text)]
    assert shlex.split(source.line) == ["starmill", "run", "my folder/run.yaml", "--local", *settings]


def test_line_tells_no_secret() -> None:
    overrides = [
        "teacher.headers={Authorization: Bearer hush}",
        "teacher={backend: server, headers: {X: hush}}",
        "teacher.base_url=https://me:hush@host/v1",
    ]
    line = RunSource.of_experiment("demo", overrides).line
    assert "hush" not in line
    assert "https://...@host/v1" in line


def test_line_that_is_no_line_is_left_out() -> None:
    assert not RunSource.of_experiment("demo", ["name=" + "x" * MAX_LINE]).line


def test_versions_are_those_that_are_installed() -> None:
    installed = versions()
    assert {"starmill", "python", "celery", "numpy"} <= installed.keys()
    assert all(installed.values())


def test_resampling_seed_is_the_one_that_is_told() -> None:
    for draws in (score_interval, paired_effects):
        assert inspect.signature(draws).parameters["seed"].default == RESAMPLING_SEED


def test_terminal_folds_no_line_that_repeats() -> None:
    record = Provenance("c" * 64, "d" * 64, versions={"starmill": "1"}, line="starmill run demo --local")
    shown = replace(report(), provenance=record)
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(*summary_tables(shown))
    text = console.export_text()
    assert "Provenance" in text
    assert "Repeat it with" not in text
    assert line_to_repeat(shown) == "Repeat it with: starmill run demo --local"
    for line, why in ((replace(record, line=""), FROM_PYTHON), (Provenance("c", "d"), UNKNOWN)):
        assert dict(provenance_rows(line))[REPEAT] == why
    assert "too long" in dict(provenance_rows(replace(record, line="", file="demo")))[REPEAT]
    assert not list(provenance_rows(Provenance()))
