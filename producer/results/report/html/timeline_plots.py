"""The plots of a run over time: rows, tokens, dollars and errors of each interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from models.core.display import usd
from producer.progress.wait_lines import duration
from producer.results.report.html.elements import WIDTH, drawing, rect, words
from storage.ledger.timeline import Interval, Timeline

HEIGHT, TOP, BOTTOM = 84, 18, 20
SERIES: dict[str, tuple[str, Callable[[Interval], float], Callable[[float], str]]] = {
    "Rows finished": ("done", lambda each: each.rows, lambda value: f"{value:,.0f}"),
    "Tokens": ("prompt", lambda each: each.tokens, lambda value: f"{value:,.0f}"),
    "Dollars": ("bar", lambda each: each.cost_nano_usd, lambda value: usd(round(value))),
    "Failures and answers not accepted": (
        "failed", lambda each: each.errors, lambda value: f"{value:,.0f}",
    ),
}  # fmt: skip


def timeline_plots(timeline: Timeline) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) of what there was at least once."""
    for name, (style, value, shown) in SERIES.items():
        values = [value(each) for each in timeline.intervals]
        if any(values):
            per = f"a {'second' if timeline.seconds == 1 else duration(timeline.seconds)}"
            yield f"{name}, {per.replace('a 1 min 00 s', 'a minute')}", _bars(timeline, values, style, shown)


def _bars(timeline: Timeline, values: list[float], style: str, shown: Callable[[float], str]) -> str:
    top, width = max(values), WIDTH / len(values)
    bars = "".join(
        rect(style, index * width, TOP + HEIGHT * (1 - value / top), max(0.5, width - 1),
             HEIGHT * value / top, f"{_clock(timeline, index)}: {shown(value)}")
        for index, value in enumerate(values) if value
    )  # fmt: skip
    ends = words(0, TOP + HEIGHT + 15, _clock(timeline, 0), "tick")
    if len(values) > 1:
        ends += words(WIDTH, TOP + HEIGHT + 15, _clock(timeline, len(values) - 1), "tick figure")
    label = f"from {_clock(timeline, 0)} on, at most {shown(top)}"
    return drawing(label, words(0, 12, f"at most {shown(top)}", "tick") + bars + ends, TOP + HEIGHT + BOTTOM)


def _clock(timeline: Timeline, index: int) -> str:
    form = "%m-%d %H:%M" if timeline.seconds >= 1800 else "%H:%M:%S"
    return datetime.fromtimestamp(timeline.intervals[index].start, UTC).strftime(form) + " UTC"
