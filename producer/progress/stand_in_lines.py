"""Lines on rows that went on although one of their units failed."""

from __future__ import annotations

from collections.abc import Mapping

from models.core.experiment.experiment import Experiment


def stand_in_lines(experiment: Experiment, stand_ins: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a line for each stage with stand-ins, given as counts by stage and reason."""
    return [_line(stage, reasons, bool(experiment.steps)) for stage, reasons in stand_ins.items()]


def _line(stage: str, reasons: Mapping[str, int], is_step: bool) -> str:
    number = sum(reasons.values())
    counted = ", ".join(f"{reason} {each:,}" for reason, each in reasons.items())
    if is_step:
        rows = "1 row goes" if number == 1 else f"{number:,} rows go"
        return f"{rows} on without {stage}, which failed ({counted})"
    if number == 1:
        return f"1 request stays as it was: its augmentation failed ({counted})"
    return f"{number:,} requests stay as they were: their augmentation failed ({counted})"
