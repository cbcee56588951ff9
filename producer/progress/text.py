"""The progress of a run as text: a line of rows, ETA, tokens and money, and the funnel by stage."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from models.core.display import budget_usd, usd
from models.core.engine_load import GpuReading
from producer.progress.engine_status import EngineStatus
from producer.progress.stand_in_lines import stand_in_lines
from producer.progress.status import LimitUse, Status
from producer.progress.wait_lines import cost, duration, without_price
from storage.ledger.counts import IN_FLIGHT
from storage.limits.usage import IN_FLIGHT as IN_FLIGHT_CALLS
from storage.limits.usage import REQUESTS, TOKENS
from storage.schema import DONE, FAILED, READY, RUNNING, SKIPPED, WAITING

COLUMNS = (("waiting", WAITING), ("ready", READY), ("in flight", IN_FLIGHT), ("done", DONE),
           ("skipped", SKIPPED), ("failed", FAILED))  # fmt: skip
USES = {REQUESTS: "calls/min", TOKENS: "tokens/min", IN_FLIGHT_CALLS: "in flight"}


def funnel_table(status: Status) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("step" if status.run.experiment.steps else "stage")
    table.add_column("planned", justify="right")
    for heading, _ in COLUMNS:
        table.add_column(heading, justify="right")
    table.add_column("")
    for stage, states in status.stages.items():
        planned = states.total()
        final = states[DONE] + states[SKIPPED] + states[FAILED]
        numbers = [f"{states[state]:,}" if states[state] else "-" for _, state in COLUMNS]
        table.add_row(status.label(stage), f"{planned:,}", *numbers, _bar(final / planned))
    return table


def summary_line(status: Status) -> Text:
    usage = status.spending.usage
    parts = [
        str(status.rows),
        *([_speed(status)] if status.left else []),
        f"{status.run.planned - status.left:,} of {status.run.planned:,} units",
        f"{status.spending.calls:,} calls",
        f"{usage.prompt:,} + {usage.completion:,} tokens",
        dollars(status),
    ]
    return Text(", ".join(parts))


def _speed(status: Status) -> str:
    if status.state != RUNNING:
        return status.state
    eta = "unknown" if status.eta is None else duration(status.eta)
    return f"ETA {eta}, {status.rate:,.0f} units/min"


def reasons_line(title: str, reasons: dict[str, int]) -> Text:
    return Text(f"{title}: " + ", ".join(f"{reason} {number:,}" for reason, number in reasons.items()))


def progress(status: Status) -> Group:
    heading = Text(f"{status.run.id}: {status.state}", style="italic")
    lines: list[Table | Text] = [heading, summary_line(status), funnel_table(status)]
    lines += [_engine_line(engine) for engine in status.engines if engine.alive]
    lines += [_gpu_line(worker, gpu) for worker, gpus in status.gpus.items() for gpu in gpus]
    lines += [_limit_line(limit) for limit in status.limits]
    lines += [Text(line) for line in status.waits]
    if status.rejections:
        lines.append(reasons_line("rejected answers", status.rejections))
    if status.failures:
        lines.append(reasons_line("failed units", status.failures))
    lines += map(Text, stand_in_lines(status.run.experiment, status.stand_ins))
    return Group(*lines)


def dollars(status: Status) -> str:
    budget, spent = status.budget, status.spending.cost_nano_usd
    parts = cost(spent, status.unpriced) if spent or not status.unpriced else without_price(status.unpriced)
    if budget.limit is not None:
        parts += f" of {budget_usd(budget.limit)}"
    if status.spending.estimated:
        parts += f" ({status.spending.estimated:,} calls estimated)"
    if budget.unanswered:
        parts += f" (up to {usd(budget.unanswered)} more for calls without an answer)"
    return parts


def limit_parts(limit: LimitUse) -> list[str]:
    """Return the use of each known limit."""
    use = limit.use
    parts = [
        f"{use.used[unit]:,.0f} of {use.allowed[unit]:,.0f} {heading}"
        for unit, heading in USES.items()
        if unit in use.allowed
    ]
    if use.refused:
        parts.append(f"{use.refused:,} of {use.calls:,} calls refused (429)")
    return parts


def _limit_line(limit: LimitUse) -> Text:
    return Text(f"limits of {', '.join(limit.endpoints)}: " + ", ".join(limit_parts(limit)))


def _engine_line(engine: EngineStatus) -> Text:
    load = engine.load
    speed = load.usage.completion / load.busy_seconds if load.busy_seconds else 0.0
    return Text(
        f"engine of {engine.model} ({engine.worker}): {load.running:,} of {load.capacity:,} sequences, "
        f"{load.waiting:,} wait, {100 * load.occupancy:.0f} % full while busy, {speed:,.0f} tokens/s"
    )


def _gpu_line(worker: str, gpu: GpuReading) -> Text:
    used, total = gpu.memory_used / 1e9, gpu.memory_total / 1e9
    busy = "" if gpu.utilization is None else f", {100 * gpu.utilization:.0f} % busy"
    return Text(f"GPU {gpu.device} of {worker}: {gpu.name}, {used:,.1f} of {total:,.1f} GB{busy}")


def _bar(share: float, width: int = 20) -> str:
    full = int(share * width)
    return "#" * full + "." * (width - full) + f" {int(share * 100):3d} %"
