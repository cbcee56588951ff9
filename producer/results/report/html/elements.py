"""Elements of the page: sections, tables, figures, SVG."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from html import escape

# A drawing is as wide as a phone, and is scaled where there is more room.
WIDTH = 360
# About as many characters of 12 px fit that width.
LABEL = 52


def section(name: str, title: str, content: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{content}</section>'


def folded(summary: str, content: str) -> str:
    """Shown when it is asked for; nothing where there is nothing."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>" if content else ""


def escaped(lines: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[escape(word) for word in line] for line in lines]


def soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], texts: Container[int] = (0,)) -> str:
    """The columns of `texts` hold words, the others numbers. `lines` are HTML; a narrow screen shows each as
    a card, in which every value has its heading beside it."""
    styles = ["" if place in texts else ' class="number"' for place in range(len(heads))]
    head = "".join(f"<th{style}>{escape(name)}</th>" for name, style in zip(heads, styles, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{style} data-head="{escape(name)}">{value}</td>'
            for value, name, style in zip(line, heads, styles, strict=True)
        )
        + "</tr>\n"
        for line in lines
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def pairs(lines: Iterable[tuple[str, str]]) -> str:
    """A table of names and values."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in lines)
    return f'<table class="pairs"><tbody>\n{body}</tbody></table>'


def figures(drawn: Iterable[tuple[str, str]]) -> str:
    """(caption, SVG) side by side where there is room."""
    inner = "\n".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>" for caption, svg in drawn if svg
    )
    return f'<div class="plots">{inner}</div>' if inner else ""


def keys(names: Iterable[tuple[str, str]]) -> str:
    """What colours mean: (class, words)."""
    return '<p class="soft">' + "".join(
        f'<span class="key {style}"></span>{escape(words)} ' for style, words in names
    ) + "</p>"  # fmt: skip


def drawing(label: str, content: str, height: float) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{content}</svg>'


def words(x: float, y: float, text: str, style: str = "") -> str:
    marked = f' class="{style}"' if style else ""
    return f'<text{marked} x="{x:g}" y="{y:g}">{escape(text)}</text>'


def rect(style: str, x: float, y: float, width: float, height: float, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:g}"'
    return f'<rect class="{style}" {place}>{inner}</rect>'


def whisker(y: float, low: float, high: float, strokes: Iterable[float], style: str = "") -> str:
    """A line from `low` to `high` around `y`, with a stroke across at each of `strokes`."""
    across = "".join(f"M{x:.1f} {y - 3.5:g}v7" for x in strokes)
    named = f"whisker {style}".strip()
    return f'<path class="{named}" d="M{low:.1f} {y:g}H{high:.1f}{across}"/>'


def short(label: str, most: int = LABEL) -> str:
    """What fits; the end of a variant tells it apart."""
    return label if len(label) <= most else f"...{label[3 - most :]}"
