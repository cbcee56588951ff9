"""Draw a recorded terminal as one SVG that plays by CSS alone, and whose last screen stays.

A viewer that plays no animation, or is asked for less motion, shows the last screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tests.pictures.terminal_session import PROMPT, Frame

CHARACTER, LINE, MARGIN, BAR = 7.83, 18, 16, 30
# What took longer plays faster.
PLAYING_SECONDS = 20.0
STYLE = """
.paper { fill: #16181d } .bar { fill: #2a2e37 } text { font: 13px ui-monospace, Menlo, Consolas,
 'DejaVu Sans Mono', monospace; fill: #d7dae0; white-space: pre }
.command { fill: #8fd6a3 } .title { fill: #9aa1ad }
.frame { visibility: hidden } .last { visibility: visible }
@keyframes before { from, to { visibility: hidden } } @keyframes during { from, to { visibility: visible } }
@media (prefers-reduced-motion: reduce) { .frame, .last { animation: none !important } }
"""


def drawn(frames: list[Frame], columns: int, title: str) -> str:
    """Return the SVG of all frames that differ from the one before them."""
    frames = _different(frames)
    pace = min(1.0, PLAYING_SECONDS / max(frames[-1].second, 1.0))
    height = BAR + 2 * MARGIN + LINE * max(len(frame.lines) for frame in frames)
    width = round(2 * MARGIN + columns * CHARACTER)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
        f'<path class="bar" d="M0 {BAR} V8 a8 8 0 0 1 8 -8 H{width - 8} a8 8 0 0 1 8 8 V{BAR} z"/>',
        *(f'<circle cx="{20 + 18 * n}" cy="{BAR / 2}" r="5" fill="{colour}"/>'
          for n, colour in enumerate(("#e0685f", "#e0b34f", "#67b96a"))),
        f'<text class="title" x="{width / 2}" y="20" text-anchor="middle">{escape(title)}</text>',
    ]  # fmt: skip
    for frame, following in zip(frames, [*frames[1:], None], strict=True):
        parts.append(_group(frame, following, pace))
    return "\n".join([*parts, "</svg>\n"])


def _different(frames: list[Frame]) -> list[Frame]:
    kept: list[Frame] = []
    for frame in frames:
        if not kept or frame.lines != kept[-1].lines:
            kept.append(frame)
    return kept


def _group(frame: Frame, following: Frame | None, pace: float) -> str:
    begin = round(frame.second * pace, 2)
    if following is None:
        opening = f'<g class="last" style="animation: before {begin}s">'
    else:
        seconds = round(following.second * pace - begin, 2)
        opening = f'<g class="frame" style="animation: during {seconds}s {begin}s">'
    return "\n".join([opening, *_texts(frame.lines), "</g>"])


def _texts(lines: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines; a command may go on behind a backslash."""
    command = False
    for number, line in enumerate(lines):
        command = line.startswith(PROMPT) or (command and lines[number - 1].endswith("\\"))
        if line:
            kind = ' class="command"' if command else ""
            indent = len(line) - len(line.lstrip())
            text = line.lstrip()
            x, y = MARGIN + indent * CHARACTER, BAR + MARGIN + LINE * number + 13
            length = len(text) * CHARACTER
            yield f'<text{kind} x="{x:g}" y="{y}" textLength="{length:g}">{escape(text)}</text>'
