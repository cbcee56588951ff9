"""Units a second over time, as a table and as a drawing."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

POINTS = 120
WIDTH, HEIGHT = 720, 240
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="4" y="14">{top:.0f} units a second</text>
<text x="{right}" y="{height}" text-anchor="end">{seconds:.0f} s</text>
<polyline fill="none" stroke="black" points="{points}"/>
</svg>
"""


def write_curve(folder: Path, name: str, ended: Sequence[float]) -> None:
    """Write NAME.csv and NAME.svg from the times at which units ended, in order."""
    speeds = curve(ended)
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "units_per_s"])
        writer.writerows((f"{at:.1f}", f"{speed:.1f}") for at, speed in speeds)
    top, seconds = max(speed for _, speed in speeds), speeds[-1][0] or 1.0
    points = " ".join(f"{WIDTH * at / seconds:.0f},{HEIGHT * (1 - speed / top):.0f}" for at, speed in speeds)
    (folder / f"{name}.svg").write_text(
        SVG.format(width=WIDTH, height=HEIGHT, right=WIDTH - 4, top=top, seconds=seconds, points=points),
        encoding="utf-8",
    )


def curve(ended: Sequence[float]) -> list[tuple[float, float]]:
    """Return the speed in each of up to POINTS spans of whole seconds, at the end of the span."""
    span = max(1.0, -(-(ended[-1] - ended[0]) // POINTS))
    counted = Counter(int((at - ended[0]) // span) for at in ended)
    return [((index + 1) * span, counted[index] / span) for index in range(max(counted) + 1)]
