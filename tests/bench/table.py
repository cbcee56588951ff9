"""Medians, and the table of targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.measured import Measured
from tests.bench.scenarios.base import Outcome
from tests.bench.targets import TARGETS, Target

CAPTION = """\
Medians of {repeats}; sizes and machine are in the JSON. Every call is one of the teacher's for the stage
augment, through queue, ledger and client. Wall time runs from the first call that the server saw to the last
committed row; processes are started, connected and warm before. CPU is user and system time of workers and
feeder in that span, memory the largest resident set of a worker. The plain loop is AsyncOpenAI on aiohttp
with six attempts for each call and a checkpoint."""


@dataclass
class Result:
    """All measurements of one scenario; `error` says why there are no more."""

    outcomes: list[Outcome] = field(default_factory=list)
    error: str | None = None

    @property
    def medians(self) -> Outcome:
        subjects = {subject for outcome in self.outcomes for subject in outcome}
        return {each: _medians([o[each] for o in self.outcomes if each in o]) for each in sorted(subjects)}


def _medians(runs: Sequence[Measured]) -> Measured:
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}


def rows(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """A row for each target whose scenario was asked for."""
    return [_row(target, results[target.scenario]) for target in TARGETS if target.scenario in results]


def _row(target: Target, result: Result) -> dict[str, Any]:
    medians = result.medians
    plain, starmill = medians.get("plain", {}), medians.get("starmill", {})
    return {
        "row": target.row,
        "what": target.what,
        "target": target.limit,
        "plain": plain.get(target.metric),
        "starmill": starmill.get(target.metric),
        "met": target.is_met(plain, starmill),
        "digits": target.digits,
    }


def markdown(results: Mapping[str, Result], repeats: int, quick: bool = False) -> str:
    lines = ["| row | what | target | plain | starmill | met |", "|---:|---|---|---:|---:|---|"]
    for row in rows(results):
        plain, starmill = (_number(row[subject], row["digits"]) for subject in ("plain", "starmill"))
        met = {True: "yes", False: "NO", None: ""}[row["met"]]
        lines.append(f"| {row['row']} | {row['what']} | {row['target']} | {plain} | {starmill} | {met} |")
    broken = [f"- {name}: {result.error}" for name, result in results.items() if result.error]
    if broken:
        lines += ["", "Not or not fully measured:", "", *broken]
    if quick:
        lines += ["", "Quick: far fewer calls than the rows say. These numbers mean nothing."]
    return "\n".join([*lines, "", CAPTION.format(repeats=repeats)]) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
