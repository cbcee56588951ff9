"""An estimate as text: a table of steps, the lines before a run, and the object that `--json` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from models.core.display import usd
from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import rows_per_call
from producer.look_ahead import prices
from producer.look_ahead.duration import call_seconds, parallel_calls
from producer.look_ahead.forecast import SMALL_ERROR, Estimate, StepEstimate
from producer.look_ahead.projection import ModelUse, sum_dollars
from producer.progress.wait_lines import duration, without_price

ASK_ROWS = "tokens unknown until rows are done"


def estimate_document(estimate: Estimate) -> dict[str, Any]:
    """Return the object that `starmill estimate --json` prints."""
    return {
        "experiment": estimate.experiment.name,
        "rows": dict(estimate.rows),
        "sampled_from": list(estimate.sampled_from),
        "steps": [
            {"step": step.step, "split": step.split, "units": step.units, "asked": step.asked,
             "sampled": step.sampled, **_numbers([step])}
            for step in estimate.steps
        ],
        **_numbers(estimate.steps),
        "hours": _hours(estimate.seconds),
        "unpriced_models": list(estimate.unpriced),
        "priced_by": _priced_by(estimate),
        "relative_error": _finite(estimate.relative_error),
        "limits": [
            {"model": model.name, "rpm": model.rpm, "tpm": model.tpm, "in_flight": parallel_calls(model)}
            for model in _models(estimate)
        ],
    }  # fmt: skip


def _numbers(steps: Sequence[StepEstimate]) -> dict[str, Any]:
    known = all(step.uses is not None for step in steps)
    uses = [use for step in steps for use in step.uses or ()]
    return {
        "calls": round(sum(step.calls for step in steps)),
        "in_ledger": sum(step.answers for step in steps),
        "to_buy": round(sum(step.to_buy for step in steps)),
        "tokens": {
            "prompt": sum(use.usage.prompt for use in uses),
            "cached": sum(use.usage.cached for use in uses),
            "completion": sum(use.usage.completion for use in uses),
        } if known else None,
        "cost_usd": sum_dollars(uses) if known else None,
        "hours": _hours(call_seconds(use.load for use in uses)) if known else None,
    }  # fmt: skip


def _finite(error: float) -> float | None:
    return round(error, 4) if math.isfinite(error) else None


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / 3600, 6)


def estimate_lines(estimate: Estimate) -> Iterator[Table | Text]:
    """Yield the table of steps, and what it rests on."""
    table = Table(title=rows_line(estimate), title_justify="left", box=None, pad_edge=False)
    table.add_column("step")
    for heading in ("calls", "in ledger", "to buy", "tokens in", "tokens out", "dollars", "time"):
        table.add_column(heading, justify="right")
    table.add_column("asked for")
    for name, group in groupby(estimate.steps, lambda step: step.step):
        steps = list(group)
        table.add_row(name, *_cells(steps), _basis(steps))
    table.add_row("all", *_cells(estimate.steps, estimate.seconds), "")
    yield table
    yield Text("tokens, dollars and time are those of the calls to buy, as the calls of these rows were: "
               + (", ".join(estimate.sampled_from) or "none"))  # fmt: skip
    yield from map(Text, _notes(estimate))


def _cells(steps: Sequence[StepEstimate], seconds: float | None = None) -> Iterator[str]:
    numbers = _numbers(steps)
    for name in ("calls", "in_ledger", "to_buy"):
        yield f"{numbers[name]:,}"
    if numbers["tokens"] is None:
        yield from ("unknown",) * 4
        return
    yield f"{numbers['tokens']['prompt']:,}"
    yield f"{numbers['tokens']['completion']:,}"
    uses = [use for step in steps for use in step.uses or ()]
    yield _dollars(uses)
    yield duration(call_seconds(use.load for use in uses) if seconds is None else seconds)


def _dollars(uses: Sequence[ModelUse]) -> str:
    dollars = sum_dollars(uses)
    return "unknown" if dollars is None else usd(round(dollars * 1e9))


def _basis(steps: Iterable[StepEstimate]) -> str:
    """Return for how many rows of the sample the step asked a model."""
    return ", ".join(
        f"{step.asked:,} of {step.sampled:,} {step.split} rows" for step in steps if step.sampled
    )


def _notes(estimate: Estimate) -> Iterator[str]:
    if (error := estimate.relative_error) > SMALL_ERROR:
        how = f"{100 * error:.0f} %" if math.isfinite(error) else "any amount"
        more = f"-n {estimate.enough_rows} asks for more"
        yield f"from so few rows tokens may be wrong by {how} and more: {more}"
    for model in _models(estimate):
        limits = [f"{model.rpm:,} calls/min"] if model.rpm else []
        limits += [f"{model.tpm:,} tokens/min"] if model.tpm else []
        limits.append(f"{parallel_calls(model):,} calls at once")
        unset = "" if model.rpm or model.tpm else "; rpm and tpm are not set, a server may allow less"
        batches = "; batches may take a day" if model.delivery == "batch" else ""
        yield f"limits of {model.name}: {', '.join(limits)}{unset}{batches}"
    for step, size in rows_per_call(estimate.experiment).items():
        yield f"{step}: {size:,} rows share a call in the run; calls and tokens in are at most these"
    if estimate.unpriced:
        yield without_price(estimate.unpriced)
    if priced := _priced_by(estimate):
        yield f"prices by {priced}; set `price` in the experiment to have the run count its dollars"


def _models(estimate: Estimate) -> list[Any]:
    return list({use.model.name: use.model for use in estimate.uses if use.calls}.values())


def _priced_by(estimate: Estimate) -> str | None:
    """Return the source of prices that the experiment does not give."""
    if any(use.dollars for use in estimate.uses if use.model.price.is_free):
        return prices.source()
    return None


def rows_line(estimate: Estimate) -> str:
    rows = " and ".join(f"{number:,} {split}" for split, number in estimate.rows.items() if number)
    return f"{estimate.experiment.name}: {rows} rows"


def lines_before_run(estimate: Estimate, remedy: str = "") -> Iterator[str]:
    """Yield what a run takes, as far as the ledger tells; `remedy` says how to know more."""
    counted = (
        f"{name} {round(sum(step.calls for step in group)):,}"
        for name, group in groupby(estimate.steps, lambda step: step.step)
    )
    calls = ", ".join(counted) or "none"
    most = " at most" if _is_conditional(estimate.experiment) and not estimate.is_known else ""
    yield f"{rows_line(estimate)}; calls{most}: {calls}"
    line = f"{estimate.answers:,} answers already in the ledger, {estimate.to_buy:,} to buy"
    if not estimate.to_buy:
        yield line
    elif not estimate.is_known:
        yield f"{line}; {ASK_ROWS}{remedy}"
    else:
        yield f"{line}: {_expected(estimate)}"


def _expected(estimate: Estimate) -> str:
    numbers = _numbers(estimate.steps)
    tokens, seconds = numbers["tokens"], estimate.seconds or 0.0
    amount = f"about {_dollars(estimate.uses)}"
    dollars = without_price(estimate.unpriced) if estimate.unpriced else amount
    return (
        f"about {tokens['prompt']:,} + {tokens['completion']:,} tokens and {duration(seconds)} "
        f"within the limits; {dollars}"
    )


def _is_conditional(experiment: Experiment) -> bool:
    if experiment.steps:
        return any(step.when for step in experiment.steps.values())
    return experiment.makes_rationales and experiment.rationale.passes > 0
