"""Draw boxes, words and arrows as SVG. Each has a paper of its own, and reads on light and dark pages."""

from __future__ import annotations

from html import escape

# Kind: fill and stroke on a light page, then on a dark one.
COLOURS = {
    "paper": ("#ffffff", "#d5dae3", "#14171c", "#333a46"),
    "box": ("#f3f5f9", "#aab3c2", "#232831", "#566072"),
    "main": ("#dfe9fb", "#5479b8", "#22345a", "#7d9cd3"),
    "done": ("#d5efdb", "#4c9a61", "#1f4029", "#5fae76"),
    "busy": ("#fdf0cc", "#c29222", "#4b3c12", "#d0a544"),
    "open": ("none", "#aab3c2", "none", "#566072"),
    "arrow": ("none", "#5a6474", "none", "#a3acba"),
    "head": ("#5a6474", "none", "#a3acba", "none"),
    "cross": ("none", "#b3392e", "none", "#e5776c"),
    "text": ("#1b1f27", "none", "#e6e9ef", "none"),
    "small": ("#4d5563", "none", "#aab2bf", "none"),
}
FONT = "15px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
SHAPES = f"""text {{ font: {FONT} }} .small {{ font-size: 13px }}
.strong {{ font-weight: 600; font-size: 14px }}
.middle {{ text-anchor: middle }} .open {{ stroke-dasharray: 4 3 }} .arrow {{ stroke-width: 1.6 }}
.cross {{ stroke-width: 3 }}"""
LINE = 19


class Drawing:
    """The parts are added one after the other; `svg` is the whole."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img"><title>{escape(title)}</title><style>{_style()}</style>',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, kind: str, *lines: str) -> None:
        """Draw a box with lines in its middle, the first of them strong."""
        self._parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>')
        top = y + height / 2 - LINE * len(lines) / 2 + 14
        for number, line in enumerate(lines):
            look = "middle small" if number else "middle strong"
            self.text(x + width / 2, top + LINE * number, line, look)

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        self._parts.append(f'<text class="text {kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>')

    def arrow(self, path: str) -> None:
        """Draw a path whose end has a head."""
        self._parts.append(f'<path class="arrow" d="{path}" marker-end="url(#head)"/>')

    def cross(self, x: float, y: float) -> None:
        """Mark a death."""
        self._parts.append(f'<path class="cross" d="M{x - 8} {y - 8} l16 16 m0 -16 l-16 16"/>')

    @property
    def svg(self) -> str:
        return "\n".join([*self._parts, "</svg>\n"])


def _style() -> str:
    light, dark = (
        " ".join(
            f".{kind} {{ fill: {colours[first]}; stroke: {colours[first + 1]} }}"
            for kind, colours in COLOURS.items()
        )
        for first in (0, 2)
    )
    return f"{SHAPES}\n{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}"
