"""Elements of the page: sections, tables, figures, SVG."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from html import escape

# A drawing has the width of a phone, and is scaled where there is more room.
WIDTH = 360
# About this number of characters of 12 px fits that width.
LABEL = 52
# An axis ends at 100 if the values exceed these.
AXIS_ENDS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0)


def section(name: str, title: str, content: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{content}</section>'


def folded(summary: str, content: str) -> str:
    """Return an element that shows its content when it is opened, or nothing without content."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>" if content else ""


def soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def table(headings: Sequence[str], rows: Iterable[Iterable[str]], text_columns: Container[int]) -> str:
    """Return a table. Values are HTML; those outside `text_columns` are numbers. A narrow screen shows each
    row as a card, in which every value has its heading beside it."""
    styles = ["" if n in text_columns else ' class="number"' for n in range(len(headings))]
    columns = [(escape(name), style) for name, style in zip(headings, styles, strict=True)]
    head = "".join(f"<th{style}>{name}</th>" for name, style in columns)
    body = ""
    for row in rows:
        cells = zip(row, columns, strict=True)
        values = (f'<td{style} data-head="{name}">{value}</td>' for value, (name, style) in cells)
        body += f"<tr>{''.join(values)}</tr>\n"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def pairs(rows: Iterable[Iterable[str]]) -> str:
    """Return a table of names and values, which are HTML."""
    body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>\n" for name, value in rows)
    return f'<table class="pairs"><tbody>\n{body}</tbody></table>'


def figures(drawn: Iterable[tuple[str, str]]) -> str:
    """Return figures of (caption, SVG), side by side where there is room."""
    inner = "\n".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>" for caption, svg in drawn if svg
    )
    return f'<div class="plots">{inner}</div>' if inner else ""


def keys(names: Iterable[tuple[str, str]]) -> str:
    """Return the legend of colours: (class, words)."""
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
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:g}"'
    return f'<rect class="{style}" {box}>{inner}</rect>'


def whisker(y: float, low: float, high: float, strokes: Iterable[float], style: str = "") -> str:
    """Return a line from `low` to `high` around `y`, with a stroke across at each of `strokes`."""
    across = "".join(f"M{x:.1f} {y - 3.5:g}v7" for x in strokes)
    named = f"whisker {style}".strip()
    return f'<path class="{named}" d="M{low:.1f} {y:g}H{high:.1f}{across}"/>'


def axis_end(highest: float) -> float:
    """Return a round end of an axis from 0 on which percent up to `highest` are drawn."""
    return next((end for end in AXIS_ENDS if highest <= end), 100.0)


def short(label: str, max_length: int = LABEL) -> str:
    """Return the end of the label that fits: the end of a variant tells it apart."""
    return label if len(label) <= max_length else f"...{label[3 - max_length :]}"
