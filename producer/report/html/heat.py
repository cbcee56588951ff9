"""The grid as a heat map: one for each student, wording and metric."""

from __future__ import annotations

from collections.abc import Iterator

from producer.report.build import Report
from producer.report.html.elements import WIDTH, drawing, rect, short, words
from producer.report.layout import RATIONALES
from producer.report.tables import TableRow

HEAD, ROW = 24, 34
LABELS = 112
# The ink must stay readable on the darkest field.
PALEST, DARKEST = 0.06, 0.7


def heat_maps(report: Report) -> Iterator[tuple[str, str]]:
    """(caption, SVG): retrieval across, shots and rationale down, of grids that have two cells at least.

    Colour goes from 0 to the highest score, so that scores which are nearly alike look alike.
    """
    groups = dict.fromkeys((row.cell.student, row.cell.augment_test) for row in report.table)
    for student, augmented in groups:
        of_group = [
            row for row in report.table if (row.cell.student, row.cell.augment_test) == (student, augmented)
        ]
        parts = [student] if len(report.students) > 1 else []
        parts += ["augmented requests"] if augmented else []
        for name, heading in report.metrics.items():
            if sum(name in row.measures for row in of_group) > 1:
                yield ", ".join([heading, *parts]), _map(of_group, name, heading)


def _map(table: list[TableRow], metric: str, heading: str) -> str:
    across = list(dict.fromkeys(row.cell.retrieval_word for row in table))
    down = list(dict.fromkeys(_down(row) for row in table))
    scores = [row.measures[metric].value for row in table if metric in row.measures]
    highest = max(scores)
    width = (WIDTH - LABELS) / len(across)
    parts = [
        words(LABELS + (place + 0.5) * width, 15, short(_heading(word), max(6, int(width / 7))), "middle")
        for place, word in enumerate(across)
    ]
    parts += [words(0, HEAD + place * ROW + 21, short(label, 18)) for place, label in enumerate(down)]
    for row in table:
        measure = row.measures.get(metric)
        x = LABELS + across.index(row.cell.retrieval_word) * width
        y = HEAD + down.index(_down(row)) * ROW
        share = measure.value / highest if measure and highest else 0.0
        opacity = PALEST + (DARKEST - PALEST) * share if measure else 0.0
        title = f"{row.cell.variant}: " + (f"{measure.value:.2f} %" if measure else "no score")
        field = rect("heat", x + 1, y + 1, width - 2, ROW - 2, title)
        parts.append(field.replace("<rect ", f'<rect fill-opacity="{opacity:.2f}" '))
        style = "middle top" if metric in row.best else "middle"
        parts.append(words(x + width / 2, y + 21, f"{measure.value:.1f}" if measure else "-", style))
    return drawing(f"{heading} of each cell in percent", "".join(parts), HEAD + ROW * len(down))


def _down(row: TableRow) -> str:
    cell = row.cell
    parts = [f"{cell.shots}-shot"]
    parts += [RATIONALES[cell.rationale]] if cell.rationale != "none" else []
    parts += [cell.exemplars] if cell.exemplars_vary and cell.shots else []
    return ", ".join(parts)


def _heading(word: str) -> str:
    return {"no": "no docs", "yes": "docs"}.get(word, word)
