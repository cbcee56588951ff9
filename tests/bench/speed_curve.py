"""Units a second over time, as a table and as a drawing."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

POINTS = 120
WIDTH, HEIGHT = 720, 240
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="4" y="14">{top:.0f} units a second</text>
<text x="{right}" y="{height}" text-anchor="end">{seconds:.0f} s</text>
<polyline fill="none" stroke="black" points="{points}"/>
{marks}</svg>
"""
MARK = """<line x1="{x}" x2="{x}" y1="20" y2="{height}" stroke="red" stroke-dasharray="3"/>
<text x="{x}" y="{y}" fill="red">{word}</text>
"""


def write_curve(folder: Path, name: str, ended: Sequence[float]) -> None:
    """Write NAME.csv and NAME.svg from the times at which units ended, in order."""
    write_speeds(folder, name, curve(ended))


def write_speeds(
    folder: Path, name: str, speeds: Sequence[tuple[float, float]], marks: Mapping[str, float] | None = None
) -> None:
    """Write NAME.csv and NAME.svg. `marks` are words with the second at which each stands."""
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "units_per_s"])
        writer.writerows((f"{at:.1f}", f"{speed:.1f}") for at, speed in speeds)
    top, seconds = max(speed for _, speed in speeds) or 1.0, speeds[-1][0] or 1.0
    points = " ".join(f"{WIDTH * at / seconds:.0f},{HEIGHT * (1 - speed / top):.0f}" for at, speed in speeds)
    lines = (
        MARK.format(x=round(WIDTH * at / seconds), y=32 + 14 * (index % 3), height=HEIGHT, word=escape(word))
        for index, (word, at) in enumerate((marks or {}).items())
    )
    (folder / f"{name}.svg").write_text(
        SVG.format(
            width=WIDTH, height=HEIGHT, right=WIDTH - 4, top=top, seconds=seconds, points=points,
            marks="".join(lines),
        ),
        encoding="utf-8",
    )  # fmt: skip


def curve(ended: Sequence[float]) -> list[tuple[float, float]]:
    """Return the speed in each of up to POINTS spans of whole seconds, at the end of the span."""
    began = ended[0]
    counted = Counter(int(at - began) for at in ended)
    return speeds_of_seconds(counted)


def speeds_of_seconds(counted: Mapping[int, int]) -> list[tuple[float, float]]:
    """Return the same from the number of units that ended in each second."""
    span = max(1, -(-max(counted) // POINTS))
    spans: Counter[int] = Counter()
    for second, number in counted.items():
        spans[second // span] += number
    return [((index + 1.0) * span, spans[index] / span) for index in range(max(spans) + 1)]
